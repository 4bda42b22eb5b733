#include "supervisor/reap.h"

#include <sys/resource.h>
#include <sys/wait.h>

#include "supervisor/state.h"
#include "supervisor/tell.h"

#define A_TURN 64

/* A program can be over before the thread that started it has come back to tell. */
static struct task *find_starting(struct supervisor *supervisor, pid_t pid) {
    struct task *task = supervisor->tasks.newest;
    while (task != NULL && !(task->birth != NULL && !task->reaped_early && task->birth->pid == pid))
        task = task->older;
    return task;
}

static void give(struct supervisor *supervisor, pid_t pid, int status, const struct rusage *usage) {
    tree_orphan_reaped(supervisor, pid); /* a start may have been taken for one */
    struct task *task = task_find_pid(&supervisor->tasks, pid);
    if (task == NULL)
        task = find_starting(supervisor, pid);
    if (task != NULL) {
        task_reaped(task, status, usage);
    } else if (!upgrade_reaped(supervisor, pid, status) &&
               !keeper_reaped(supervisor, pid, status)) {
        supervisor->reaped_orphans++;
    }
}

static void on_more(struct deadline *deadline) {
    reap_all(container_of(deadline, struct supervisor, reap_more));
}

void reap_init(struct supervisor *supervisor) {
    supervisor->reap_more.fire = on_more;
}

void reap_all(struct supervisor *supervisor) {
    int status;
    struct rusage usage;
    uint64_t orphans = supervisor->reaped_orphans;
    unsigned count = 0;
    for (pid_t pid; count < A_TURN && (pid = wait4(-1, &status, WNOHANG, &usage)) > 0; count++)
        give(supervisor, pid, status, &usage);
    /* Who makes orphans faster than this takes them must not keep us from everything else. */
    if (count == A_TURN)
        deadline_arm(&supervisor->loop.deadlines, &supervisor->reap_more, clock_now());
    if (supervisor->reaped_orphans != orphans)
        tell_counts(supervisor);
    power_check(supervisor);
}
