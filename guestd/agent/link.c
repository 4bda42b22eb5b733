#include "agent/link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link_message.h"
#include "agent/log.h"
#include "version.h"

#define STARTS_NS UINT64_C(50000000)
#define MS_NS UINT64_C(1000000)
#define TURN 64 /* messages read before the loop looks at anybody else */

/* What a full link refused: goes out first as soon as there is room. */
struct waiting {
    struct waiting *next;
    unsigned n_fds;
    int fds[LINK_FDS_MAX];
    size_t size;
    uint8_t bytes[];
};

/* An order whose LINK_DONE is still to come. */
struct asked {
    struct asked *next;
    uint64_t request;
    link_done_fn *done;
    void *arg;
};

struct link {
    struct agent *agent;
    uv_poll_t poll;
    struct waiting *first, **last;
    bool wanted; /* link_try found no room */
    struct asked *asked;
    uint64_t requests;
    bool over; /* the supervisor has shut its end: nothing reaches it any more */
};

/* ── the start ── */

static bool understood(const struct link_hello *hello) {
    if (hello->version >= guestd_link_least && guestd_link_version >= hello->least)
        return true;
    log_error("the supervisor speaks version %u (at least %u) of the link, this agent %u (%u)",
              hello->version, hello->least, guestd_link_version, guestd_link_least);
    return false;
}

int link_receive_hello(struct agent *agent, int ret_listeners[LINK_LISTENERS]) {
    union link_message message;
    int fds[LINK_FDS_MAX];
    unsigned n_fds;
    int r = link_message_wait(&message, fds, &n_fds, -1);

    if (r < 0)
        return r;
    if (message.h.type == LINK_HELLO && !understood(&message.hello))
        r = -EPROTONOSUPPORT;
    else if (message.h.type != LINK_HELLO || message.hello.listeners > LINK_LISTENERS ||
             message.hello.config.token_len > LINK_TOKEN)
        r = -EPROTO;
    if (r < 0) {
        link_message_close(fds, n_fds);
        return r;
    }
    link_message_speak(message.hello.version);
    agent->hello = message.hello;
    memcpy(ret_listeners, fds, n_fds * sizeof(int));
    return 0;
}

static void on_poll(uv_poll_t *poll, int status, int events);

static int handle(struct link *link, const union link_message *message, int fd);

static void watch(struct link *link) {
    uv_poll_start(&link->poll, UV_READABLE | (link->first || link->wanted ? UV_WRITABLE : 0),
                  on_poll);
}

/*
 * What happens to jobs that were told already can be told before the table's end. Behind it, starts
 * that are under way are waited for, for a moment: whoever comes back and asks for one by its tag,
 * as soon as we serve, is to find it.
 */
static int read_table(struct link *link) {
    uint64_t now, until = 0;
    int ms = -1;

    for (;;) {
        union link_message message;
        int fds[LINK_FDS_MAX] = {-1};
        unsigned n_fds;
        int r = link_message_wait(&message, fds, &n_fds, ms);

        if (r == -ETIMEDOUT)
            return 0;
        if (r == 0)
            r = handle(link, &message, n_fds ? fds[0] : -1);
        if (r < 0)
            return r;
        now = uv_hrtime();
        if (message.h.type == LINK_JOBS_END)
            until = now + STARTS_NS;
        if (until > 0 && (link->agent->jobs->inherited == 0 || now >= until))
            return 0;
        ms = until > 0 ? (int)((until - now) / MS_NS) + 1 : -1;
    }
}

/* First of all: the sizes of what follows are ours. */
static void speak(struct link *link) {
    struct link_speaks message = {.h = {LINK_SPEAKS, sizeof(message)},
                                  .version = guestd_link_version};

    if (link->agent->hello.version != guestd_link_version)
        link_send(link, &message, NULL, 0);
}

int link_start(struct agent *agent) {
    struct link *link = calloc(1, sizeof(*link));
    int r;

    if (!link)
        return -ENOMEM;
    link->agent = agent;
    link->last = &link->first;
    r = uv_poll_init(&agent->loop, &link->poll, LINK_FD);
    if (r < 0) {
        free(link);
        return r;
    }
    link->poll.data = link;
    agent->link = link;
    speak(link);
    r = read_table(link);
    if (r < 0) {
        link_close(agent);
        return r;
    }
    watch(link);
    return 0;
}

/* ── out ── */

static int queue(struct link *link, const void *bytes, size_t size, const int *fds,
                 unsigned n_fds) {
    struct waiting *waiting = malloc(sizeof(*waiting) + size);

    if (!waiting)
        return -ENOMEM;
    waiting->next = NULL;
    waiting->n_fds = n_fds;
    if (n_fds > 0)
        memcpy(waiting->fds, fds, n_fds * sizeof(int));
    waiting->size = size;
    memcpy(waiting->bytes, bytes, size);
    *link->last = waiting;
    link->last = &waiting->next;
    watch(link);
    return 0;
}

int link_send(struct link *link, const void *message, const int *fds, unsigned n_fds) {
    const struct link_header *header = message;
    int r = 0;

    if (link && !link->over)
        r = link->first ? -EAGAIN : link_message_send(message, header->size, fds, n_fds);
    if (r == -EAGAIN) {
        r = queue(link, message, header->size, fds, n_fds);
        if (r == 0)
            return 0;
    }
    link_message_close(fds, n_fds);
    /* A broken link is noticed by its reading half, which ends the agent. */
    return r == -ENOMEM ? r : 0;
}

int link_try(struct link *link, const void *message) {
    const struct link_header *header = message;
    int r = 0;

    if (link)
        r = link->first ? -EAGAIN : link_message_send(message, header->size, NULL, 0);
    if (r != -EAGAIN)
        return 0;
    link->wanted = true;
    watch(link);
    return r;
}

static void send_waiting(struct link *link) {
    while (link->first) {
        struct waiting *waiting = link->first;

        if (link_message_send(waiting->bytes, waiting->size, waiting->fds, waiting->n_fds) ==
            -EAGAIN)
            return;
        link->first = waiting->next;
        if (!link->first)
            link->last = &link->first;
        link_message_close(waiting->fds, waiting->n_fds);
        free(waiting);
    }
    if (link->wanted) {
        link->wanted = false;
        jobs_feed(link->agent->jobs);
    }
    watch(link);
}

void link_serving(struct agent *agent) {
    struct link_serving message = {
        .h = {LINK_SERVING, sizeof(message)},
        .connections = agent->stats.connections,
        .ready = agent->ready_answered,
        .last_active_at = agent->last_active_at,
    };

    link_send(agent->link, &message, NULL, 0);
}

/* ── questions ── */

static struct asked *ask(struct link *link, link_done_fn *done, void *arg) {
    struct asked *asked = malloc(sizeof(*asked));

    if (!asked)
        return NULL;
    *asked =
        (struct asked){.next = link->asked, .request = ++link->requests, .done = done, .arg = arg};
    link->asked = asked;
    return asked;
}

static void answer(struct link *link, uint64_t request, int err) {
    for (struct asked **at = &link->asked; *at; at = &(*at)->next) {
        struct asked *asked = *at;

        if (asked->request != request)
            continue;
        *at = asked->next;
        asked->done(err, asked->arg);
        free(asked);
        return;
    }
}

static int take_back(struct link *link) {
    struct asked *asked = link->asked;

    link->asked = asked->next;
    free(asked);
    return -ENOMEM;
}

int link_signal(struct link *link, uint64_t job, int signal, enum link_scope scope,
                link_done_fn *done, void *arg) {
    struct asked *asked = ask(link, done, arg);
    struct link_signal message = {
        .h = {LINK_SIGNAL, sizeof(message)}, .job = job, .signal = signal, .scope = scope};

    if (!asked)
        return -ENOMEM;
    message.request = asked->request;
    return link_send(link, &message, NULL, 0) < 0 ? take_back(link) : 0;
}

int link_power(struct link *link, enum link_power_mode mode, uint32_t grace_ms, link_done_fn *done,
               void *arg) {
    struct asked *asked = ask(link, done, arg);
    struct link_power message = {
        .h = {LINK_POWER, sizeof(message)}, .mode = mode, .grace_ms = grace_ms};

    if (!asked)
        return -ENOMEM;
    message.request = asked->request;
    return link_send(link, &message, NULL, 0) < 0 ? take_back(link) : 0;
}

int link_upgrade(struct link *link, int executable, uint32_t flags, link_done_fn *done, void *arg) {
    struct asked *asked = ask(link, done, arg);
    struct link_upgrade message = {.h = {LINK_UPGRADE, sizeof(message)}, .flags = flags};

    if (!asked) {
        link_message_close(&executable, 1);
        return -ENOMEM;
    }
    message.request = asked->request;
    return link_send(link, &message, &executable, 1) < 0 ? take_back(link) : 0;
}

/* ── the loop ── */

/* Consumes the fd. Returns 0 or a negative errno that means a broken supervisor. */
static int handle(struct link *link, const union link_message *message, int fd) {
    struct agent *agent = link->agent;
    struct link_header pong = {LINK_PONG, sizeof(pong)};

    switch (message->h.type) {
    case LINK_JOB:
        return jobs_on_job(agent->jobs, &message->job, fd);
    case LINK_SPAWNED:
        return jobs_on_spawned(agent->jobs, &message->spawned, fd);
    case LINK_OUTPUT:
        jobs_on_output(agent->jobs, message->output.job);
        return 0;
    case LINK_STORE:
        return jobs_on_store(agent->jobs, message->ref.job, fd);
    case LINK_TAKEN:
        jobs_on_taken(agent->jobs, &message->taken);
        return 0;
    case LINK_EXITED:
        jobs_on_exited(agent->jobs, &message->exited);
        return 0;
    case LINK_DONE:
        answer(link, message->done.request, message->done.err);
        return 0;
    case LINK_COUNTS:
        agent->hello.reaped_orphans = message->counts.reaped_orphans;
        return 0;
    case LINK_PING:
        link_send(link, &pong, NULL, 0);
        return 0;
    case LINK_STOPPING:
        agent->stopping = true;
        return 0;
    case LINK_JOBS_END:
        return 0;
    default:
        return -EPROTO;
    }
}

static void read_turn(struct link *link) {
    for (int i = 0; i < TURN; i++) {
        union link_message message;
        int fds[LINK_FDS_MAX] = {-1};
        unsigned n_fds = 0;
        int r = link_message_receive(&message, fds, &n_fds);

        if (r == -EAGAIN)
            return;
        if (r == 0)
            r = handle(link, &message, n_fds ? fds[0] : -1);
        if (r == 0)
            continue;
        uv_poll_stop(&link->poll);
        /* From here on nothing is ordered: that connections go now is not their clients' wish. */
        link->over = true;
        if (r == -EPIPE || r == -ECONNRESET) {
            agent_leave(link->agent);
        } else {
            log_error("the link to the supervisor: %s", strerror(-r));
            agent_end(link->agent, 1);
        }
        return;
    }
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct link *link = poll->data;

    if (events & UV_WRITABLE)
        send_waiting(link);
    if (status < 0 || (events & (UV_READABLE | UV_DISCONNECT)))
        read_turn(link);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

void link_close(struct agent *agent) {
    struct link *link = agent->link;

    if (!link)
        return;
    agent->link = NULL;
    while (link->asked)
        answer(link, link->asked->request, ECANCELED);
    while (link->first) {
        struct waiting *waiting = link->first;

        link->first = waiting->next;
        link_message_close(waiting->fds, waiting->n_fds);
        free(waiting);
    }
    uv_close((uv_handle_t *)&link->poll, on_closed);
}
