#include "supervisor/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/reexec.h"
#include "supervisor/saved.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define ASK_NS (5 * SECOND_NS) /* for the new file to read our state */
#define ANSWER_NS SECOND_NS    /* for the old agent to take LINK_DONE, and then … */
#define LEAVE_NS SECOND_NS     /* … to send its last answers */
#define CALM_NS                                                                                    \
    (2 * SECOND_NS)              /* for threads to finish: a start that hangs is no reason to wait \
                                  */
#define LOOK_NS MS_NS            /* between looks whether they have */
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

/* Takes *fd away, and closes it if it has no other use. */
static void drop(struct upgrade *upgrade, int *fd) {
    int file = *fd;
    *fd = -1;
    if (file >= 0 && file != upgrade->own && file != upgrade->before &&
        file != upgrade->executable && file != upgrade->candidate)
        close(file);
}

static void conclude(struct supervisor *supervisor, enum link_upgrade_state state) {
    struct upgrade *upgrade = &supervisor->upgrade;
    enter(supervisor, UPGRADE_NONE, 0);
    upgrade->state = state;
    upgrade->at = unix_now();
    drop(upgrade, &upgrade->candidate);
}

/* ── the supervisor's part ── */

static void calm(struct supervisor *supervisor) {
    supervisor->upgrade.calm_by_ns = clock_now() + CALM_NS;
    enter(supervisor, UPGRADE_CALMING, LOOK_NS);
}

/* There will be no exec, in either direction: the agent comes from the file that served before. */
static void give_up(struct supervisor *supervisor, const char *why) {
    struct upgrade *upgrade = &supervisor->upgrade;
    note("upgrade: the supervisor stays as it is: %s", why);
    conclude(supervisor, LINK_UPGRADE_ROLLED_BACK);
    drop(upgrade, &upgrade->before);
    keeper_start(supervisor);
}

static void look_for_calm(struct supervisor *supervisor) {
    struct upgrade *upgrade = &supervisor->upgrade;
    if (supervisor->power.stopping) {
        give_up(supervisor, "guestd stops");
    } else if (!reexec_is_quiet(supervisor)) {
        if (clock_now() >= upgrade->calm_by_ns)
            give_up(supervisor, "a start or a close hangs");
        else
            enter(supervisor, UPGRADE_CALMING, LOOK_NS);
    } else {
        int err =
            reexec_run(supervisor, upgrade->candidate >= 0 ? upgrade->candidate : upgrade->before);
        give_up(supervisor, strerror(-err));
    }
}

struct saved_upgrade upgrade_save(const struct supervisor *supervisor) {
    const struct upgrade *upgrade = &supervisor->upgrade;
    bool trying = upgrade->candidate >= 0;
    return (struct saved_upgrade){
        .own = trying ? upgrade->candidate : upgrade->before,
        .before = trying ? upgrade->own : -1,
        .executable = upgrade->executable,
        .candidate = upgrade->candidate,
        .trying = trying,
        .state = upgrade->state,
        .at = upgrade->at,
    };
}

void upgrade_load(struct supervisor *supervisor, const struct saved_upgrade *saved, int returned) {
    struct upgrade *upgrade = &supervisor->upgrade;
    upgrade->own = returned >= 0 ? returned : saved->own;
    upgrade->executable = saved->executable;
    upgrade->state = saved->state;
    upgrade->at = saved->at;
    if (saved->trying && returned < 0) {
        upgrade->before = saved->before;
        upgrade->candidate = saved->candidate;
        enter(supervisor, UPGRADE_TRYING, SERVE_NS);
    } else if (saved->trying) {
        note("upgrade: the new supervisor could not take over: back to the old one");
        upgrade->state = LINK_UPGRADE_ROLLED_BACK;
        upgrade->at = unix_now();
    }
}

/* ── stages ── */

static void roll_back(struct supervisor *supervisor) {
    struct upgrade *upgrade = &supervisor->upgrade;
    note("upgrade: the new agent did not come to serve: back to the old one");
    conclude(supervisor, LINK_UPGRADE_ROLLED_BACK);
    if (upgrade->before >= 0)
        calm(supervisor);
    else
        keeper_start(supervisor);
}

static void on_deadline(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, upgrade.deadline);
    switch (supervisor->upgrade.stage) {
    case UPGRADE_NONE:
        break;
    case UPGRADE_ASKING:
        kill(supervisor->upgrade.asked, SIGKILL); /* our child, not reaped yet */
        break;
    case UPGRADE_ANSWERING:
        keeper_kill(supervisor, "it did not take the answer to its upgrade");
        break;
    case UPGRADE_LEAVING:
        keeper_kill(supervisor, "it did not leave for its successor");
        break;
    case UPGRADE_CALMING:
        look_for_calm(supervisor);
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
    supervisor->upgrade = (struct upgrade){
        .own = executable, .before = -1, .executable = executable, .candidate = -1};
    supervisor->upgrade.deadline.fire = on_deadline;
}

/* Nobody may change what is executed, and every agent after this is. */
static bool is_sealed(int fd) {
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & wanted) == wanted;
}

static void answer(struct supervisor *supervisor, uint64_t request) {
    enter(supervisor, UPGRADE_ANSWERING, ANSWER_NS);
    tell_done(supervisor, request, 0);
}

/* 0, or a positive errno. */
static int ask(struct supervisor *supervisor, uint64_t request) {
    struct upgrade *upgrade = &supervisor->upgrade;
    if (upgrade->asked != 0 || reexec_is_hung(supervisor))
        return EBUSY;
    upgrade->request = request;
    int err = reexec_ask(supervisor, upgrade->candidate, &upgrade->asked);
    if (err == 0)
        enter(supervisor, UPGRADE_ASKING, ASK_NS);
    return -err;
}

void upgrade_take(struct supervisor *supervisor, const struct link_upgrade *order, int fd) {
    struct upgrade *upgrade = &supervisor->upgrade;
    int err = 0;
    if (upgrade->stage != UPGRADE_NONE || supervisor->power.stopping)
        err = EBUSY;
    else if (!is_sealed(fd) || (order->flags & ~LINK_UPGRADE_SUPERVISOR) != 0)
        err = EINVAL;
    if (err != 0) {
        close(fd);
        tell_done(supervisor, order->request, err);
        return;
    }
    upgrade->candidate = fd;
    upgrade->too = (order->flags & LINK_UPGRADE_SUPERVISOR) != 0;
    if (!upgrade->too) {
        answer(supervisor, order->request);
        return;
    }
    err = ask(supervisor, order->request);
    if (err != 0) {
        drop(upgrade, &upgrade->candidate);
        tell_done(supervisor, order->request, err);
    }
}

bool upgrade_reaped(struct supervisor *supervisor, pid_t pid, int wait_status) {
    struct upgrade *upgrade = &supervisor->upgrade;
    if (upgrade->asked == 0 || upgrade->asked != pid)
        return false;
    upgrade->asked = 0;
    if (upgrade->stage != UPGRADE_ASKING)
        return true;
    bool can = WIFEXITED(wait_status) && WEXITSTATUS(wait_status) == REEXEC_EXIT_YES;
    if (can && !supervisor->power.stopping) {
        answer(supervisor, upgrade->request);
        return true;
    }
    enter(supervisor, UPGRADE_NONE, 0);
    drop(upgrade, &upgrade->candidate);
    tell_done(supervisor, upgrade->request, can ? EBUSY : ENOEXEC);
    return true;
}

void upgrade_told(struct supervisor *supervisor) {
    if (supervisor->upgrade.stage != UPGRADE_ANSWERING)
        return;
    enter(supervisor, UPGRADE_LEAVING, LEAVE_NS);
    keeper_dismiss(supervisor);
}

bool upgrade_agent_gone(struct supervisor *supervisor) {
    struct upgrade *upgrade = &supervisor->upgrade;
    switch (upgrade->stage) {
    case UPGRADE_NONE:
    case UPGRADE_CALMING:
        return false;
    case UPGRADE_ASKING: /* nobody waits for the answer any more */
        enter(supervisor, UPGRADE_NONE, 0);
        drop(upgrade, &upgrade->candidate);
        kill(upgrade->asked, SIGKILL);
        return false;
    case UPGRADE_ANSWERING:
    case UPGRADE_LEAVING:
        if (upgrade->too) {
            calm(supervisor);
            return true;
        }
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
    drop(upgrade, &upgrade->before);
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
