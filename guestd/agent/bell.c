#include "agent/bell.h"

#include <string.h>

#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link.h"

/* Each look says all of it anew: an acknowledgement must not take back a bell that is waited for.
 */
static void look(struct job *job) {
    const struct bell *bell = &job->bell;
    struct link_look message = {.h = {LINK_LOOK, sizeof(message)}, .job = job->id};

    memcpy(message.acked, bell->acked, sizeof(message.acked));
    memcpy(message.seen, bell->seen, sizeof(message.seen));
    message.flags = (bell->armed ? LINK_LOOK_ARM : 0) |
                    (bell->eof_seen[0] ? LINK_LOOK_EOF_SEEN_0 : 0) |
                    (bell->eof_seen[1] ? LINK_LOOK_EOF_SEEN_1 : 0);
    link_send(job->jobs->agent->link, &message, NULL, 0);
}

/* Whether there is something to tell. */
static bool arm(struct bell *bell, const uint64_t seen[2], const bool eof_seen[2]) {
    if (bell->armed)
        return false;
    bell->armed = true;
    memcpy(bell->seen, seen, sizeof(bell->seen));
    memcpy(bell->eof_seen, eof_seen, sizeof(bell->eof_seen));
    return true;
}

static bool acknowledge(struct bell *bell, const uint64_t acked[2]) {
    bool news = false;

    for (unsigned c = 0; c < 2; c++) {
        news |= acked[c] > bell->acked[c];
        if (acked[c] > bell->acked[c])
            bell->acked[c] = acked[c];
    }
    return news;
}

void bell_arm(struct job *job, const uint64_t seen[2], const bool eof_seen[2]) {
    if (arm(&job->bell, seen, eof_seen))
        look(job);
}

void bell_acknowledge(struct job *job, const uint64_t acked[2]) {
    if (acknowledge(&job->bell, acked))
        look(job);
}

void bell_arm_and_acknowledge(struct job *job, const uint64_t seen[2], const bool eof_seen[2],
                              const uint64_t acked[2]) {
    bool armed = arm(&job->bell, seen, eof_seen);

    if (acknowledge(&job->bell, acked) || armed)
        look(job);
}

void bell_rang(struct job *job) {
    job->bell.armed = false;
}
