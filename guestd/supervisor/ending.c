#include "supervisor/ending.h"

#include <signal.h>

#include "supervisor/state.h"
#include "supervisor/tree.h"

#define SWEEP_FIRST_NS (1 * MS_NS)
#define SWEEP_LAST_NS (50 * MS_NS)
/* What SIGKILL hasn't ended by then hangs in the kernel: the answer goes out and counts it. */
#define GIVE_UP_NS (2 * SECOND_NS)

static struct deadlines *deadlines(struct task *task) {
    return &task->supervisor->loop.deadlines;
}

static bool must_die(const struct task *task) {
    return task->ending != LINK_REASON_EXITED || task->killing;
}

static void kill_tree(struct task *task) {
    task->killing = true;
    task->killing_ns = clock_now();
    tree_signal(task, SIGKILL);
}

void ending_kill(struct task *task, enum link_reason reason) {
    if (task->state != TASK_RUNNING && task->state != TASK_REAPED)
        return;
    if (task->ending == LINK_REASON_EXITED)
        task->ending = reason;
    if (reason == LINK_REASON_KILLED)
        task->signals |= UINT64_C(1) << (SIGKILL - 1);
    if (!task->killing)
        kill_tree(task);
}

void ending_begin(struct task *task, enum link_reason reason, uint32_t grace_ms) {
    if (task->state == TASK_STARTING) {
        task->ending = reason; /* done by ending_arm */
        return;
    }
    if (task->state != TASK_RUNNING || must_die(task))
        return;
    if (grace_ms == 0) {
        ending_kill(task, reason);
        return;
    }
    task->ending = reason;
    tree_signal(task, SIGTERM);
    /* A shell at a terminal goes by the hang-up, and takes its jobs along; SIGTERM it ignores. */
    if ((task->flags & LINK_SPAWN_PTY) != 0)
        tree_signal(task, SIGHUP);
    deadline_arm(deadlines(task), &task->timeout, clock_now() + (int64_t)grace_ms * MS_NS);
}

static void on_timeout(struct deadline *deadline) {
    struct task *task = container_of(deadline, struct task, timeout);
    if (!must_die(task))
        ending_begin(task, LINK_REASON_TIMED_OUT, task->grace_ms);
    else if (!task->killing)
        kill_tree(task);
}

static void on_sweep(struct deadline *deadline) {
    struct task *task = container_of(deadline, struct task, sweep);
    task->looked = false;
    task_settle(task);
}

void ending_init(struct task *task) {
    task->timeout.fire = on_timeout;
    task->sweep.fire = on_sweep;
}

void ending_arm(struct task *task) {
    if (task->ending != LINK_REASON_EXITED) {
        enum link_reason reason = task->ending;
        task->ending = LINK_REASON_EXITED;
        ending_begin(task, reason, task->grace_ms);
    } else if (task->timeout_ms > 0) {
        deadline_arm(deadlines(task), &task->timeout,
                     task->started_ns + (int64_t)task->timeout_ms * MS_NS);
    }
}

void ending_cancel(struct supervisor *supervisor, uint64_t job) {
    struct task *task = task_find(&supervisor->tasks, job);
    if (task != NULL)
        ending_begin(task, LINK_REASON_CANCELLED, task->grace_ms);
}

void ending_leader_gone(struct task *task) {
    task->looked = false;
    if (must_die(task))
        return;
    deadline_cancel(deadlines(task), &task->timeout);
    if ((task->flags & LINK_SPAWN_KILL_REST) != 0)
        kill_tree(task);
}

bool ending_done(struct task *task) {
    if (!tree_look(task))
        return false;
    if (!must_die(task) || !tree_lives(task))
        return true;
    int64_t now = clock_now();
    if (task->killing && now - task->killing_ns > GIVE_UP_NS)
        return true;
    if (task->killing && task->group != NULL)
        tree_signal(task, SIGKILL); /* before cgroup.kill, a fork may have slipped through */
    task->sweep_ns = task->sweep_ns == 0 ? SWEEP_FIRST_NS : task->sweep_ns * 2;
    if (task->sweep_ns > SWEEP_LAST_NS)
        task->sweep_ns = SWEEP_LAST_NS;
    deadline_arm(deadlines(task), &task->sweep, now + task->sweep_ns);
    return false;
}

void ending_stop(struct task *task) {
    deadline_cancel(deadlines(task), &task->timeout);
    deadline_cancel(deadlines(task), &task->sweep);
}
