#include "supervisor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define ANSWER_NS SECOND_NS      /* for the old agent to take LINK_DONE, and then … */
#define LEAVE_NS SECOND_NS       /* … to send its last answers */
#define SERVE_NS (5 * SECOND_NS) /* for the new one to serve. Contract §6 */

static double unix_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void enter(struct supervisor *supervisor, enum upgrade_stage stage, int64_t span_ns) {
    struct upgrade *upgrade = &supervisor->upgrade;
    upgrade->stage = stage;
    deadline_cancel(&supervisor->loop.deadlines, &upgrade->deadline);
    if (span_ns > 0)
        deadline_arm(&supervisor->loop.deadlines, &upgrade->deadline, clock_now() + span_ns);
}

static void conclude(struct supervisor *supervisor, enum link_upgrade_state state) {
    struct upgrade *upgrade = &supervisor->upgrade;
    enter(supervisor, UPGRADE_NONE, 0);
    upgrade->state = state;
    upgrade->at = unix_now();
    close(upgrade->candidate);
    upgrade->candidate = -1;
}

static void roll_back(struct supervisor *supervisor) {
    note("upgrade: the new agent did not come to serve: back to the old one");
    conclude(supervisor, LINK_UPGRADE_ROLLED_BACK);
    keeper_start(supervisor);
}

static void on_deadline(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, upgrade.deadline);
    switch (supervisor->upgrade.stage) {
    case UPGRADE_NONE:
        break;
    case UPGRADE_ANSWERING:
        keeper_kill(supervisor, "it did not take the answer to its upgrade");
        break;
    case UPGRADE_LEAVING:
        keeper_kill(supervisor, "it did not leave for its successor");
        break;
    case UPGRADE_TRYING:
        if (supervisor->keeper.pid > 0)
            keeper_kill(supervisor, "it was not serving in 5 s");
        else
            roll_back(supervisor);
        break;
    }
}

void upgrade_init(struct supervisor *supervisor, int executable) {
    supervisor->upgrade = (struct upgrade){.executable = executable, .candidate = -1};
    supervisor->upgrade.deadline.fire = on_deadline;
}

/* Nobody may change what is executed, and every agent after this is. */
static bool is_sealed(int fd) {
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & wanted) == wanted;
}

void upgrade_take(struct supervisor *supervisor, const struct link_upgrade *order, int fd) {
    struct upgrade *upgrade = &supervisor->upgrade;
    int err = 0;
    if (upgrade->stage != UPGRADE_NONE || supervisor->power.stopping)
        err = EBUSY;
    else if (!is_sealed(fd) || (order->flags & ~LINK_UPGRADE_SUPERVISOR) != 0)
        err = EINVAL;
    else if ((order->flags & LINK_UPGRADE_SUPERVISOR) != 0)
        err = ENOSYS;
    if (err != 0) {
        close(fd);
        tell_done(supervisor, order->request, err);
        return;
    }
    upgrade->candidate = fd;
    enter(supervisor, UPGRADE_ANSWERING, ANSWER_NS);
    tell_done(supervisor, order->request, 0);
}

void upgrade_told(struct supervisor *supervisor) {
    if (supervisor->upgrade.stage != UPGRADE_ANSWERING)
        return;
    enter(supervisor, UPGRADE_LEAVING, LEAVE_NS);
    keeper_dismiss(supervisor);
}

bool upgrade_agent_gone(struct supervisor *supervisor) {
    switch (supervisor->upgrade.stage) {
    case UPGRADE_NONE:
        return false;
    case UPGRADE_ANSWERING:
    case UPGRADE_LEAVING:
        enter(supervisor, UPGRADE_TRYING, SERVE_NS);
        keeper_start(supervisor);
        return true;
    case UPGRADE_TRYING:
        roll_back(supervisor);
        return true;
    }
    return false;
}

void upgrade_served(struct supervisor *supervisor) {
    struct upgrade *upgrade = &supervisor->upgrade;
    if (upgrade->stage != UPGRADE_TRYING)
        return;
    int before = upgrade->executable;
    upgrade->executable = upgrade->candidate;
    upgrade->candidate = before;
    conclude(supervisor, LINK_UPGRADE_DONE);
}

int upgrade_executable(const struct supervisor *supervisor) {
    const struct upgrade *upgrade = &supervisor->upgrade;
    return upgrade->stage == UPGRADE_TRYING ? upgrade->candidate : upgrade->executable;
}

enum link_upgrade_state upgrade_state(const struct supervisor *supervisor, double *ret_at) {
    const struct upgrade *upgrade = &supervisor->upgrade;
    bool trying = upgrade->stage == UPGRADE_TRYING;
    *ret_at = trying ? unix_now() : upgrade->at;
    return trying ? LINK_UPGRADE_DONE : upgrade->state;
}
