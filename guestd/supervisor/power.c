#include "supervisor/power.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/ending.h"
#include "supervisor/note.h"
#include "supervisor/spawn.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"
#include "supervisor/tree.h"

#define KILL_WAIT_NS SECOND_NS        /* for what hangs in the kernel */
#define LEAVE_WAIT_NS (SECOND_NS / 2) /* for the agent to send its last answers */
#define SYNC_WAIT_S 30

static void arm(struct supervisor *supervisor, int64_t span_ns) {
    deadline_arm(&supervisor->loop.deadlines, &supervisor->power.deadline, clock_now() + span_ns);
}

static void term_all(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        task->signals |= UINT64_C(1) << (SIGTERM - 1);
        if (task->state == TASK_RUNNING)
            tree_signal(task, SIGTERM);
        else if (task->state == TASK_STARTING)
            ending_begin(task, LINK_REASON_KILLED, task->grace_ms);
    }
    groups_signal_lingering(&supervisor->groups, SIGTERM);
    if (!supervisor->cgroups)
        tree_signal_orphans(supervisor, SIGTERM);
}

static void kill_all(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        ending_kill(task, LINK_REASON_KILLED);
        spawn_kill(task); /* else it could still exec when nobody is there any more */
    }
    groups_signal_lingering(&supervisor->groups, SIGKILL);
    tree_signal_orphans(supervisor, SIGKILL);
}

/* The agent reads what is still in the link, sends its answers and ends by itself when it reads the
 * end. */
static void leave(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    supervisor->power.leaving = true;
    deadline_cancel(&supervisor->loop.deadlines, &keeper->restart);
    if (keeper->pid == 0) {
        supervisor->loop.stop = true;
        return;
    }
    keeper_dismiss(supervisor);
    arm(supervisor, LEAVE_WAIT_NS);
}

static void on_deadline(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, power.deadline);
    struct power *power = &supervisor->power;
    if (power->leaving) {
        if (supervisor->keeper.pid > 0)
            kill(supervisor->keeper.pid, SIGKILL);
        supervisor->loop.stop = true;
    } else if (power->killing) {
        if (supervisor->tasks.running > 0)
            note("some processes did not die");
        leave(supervisor);
    } else {
        power->killing = true;
        kill_all(supervisor);
        arm(supervisor, KILL_WAIT_NS);
        power_check(supervisor);
    }
}

void power_init(struct supervisor *supervisor) {
    supervisor->power.deadline.fire = on_deadline;
}

void power_begin(struct supervisor *supervisor, enum link_power_mode mode, uint32_t grace_ms) {
    struct power *power = &supervisor->power;
    if (power->stopping) {
        if (!power->killing && !power->leaving)
            on_deadline(&power->deadline);
        return;
    }
    power->stopping = true;
    power->mode = mode;
    notify_stopping(supervisor);
    supervisor->keeper.stopping_owed = true;
    tell_owed(supervisor);
    arm(supervisor, (int64_t)grace_ms * MS_NS);
    term_all(supervisor);
    power_check(supervisor);
}

void power_program_ended(struct supervisor *supervisor, int exit_code) {
    supervisor->program = NULL;
    supervisor->power.exit_code = exit_code;
    if (supervisor->power.stopping)
        power_check(supervisor);
    else
        power_begin(supervisor, supervisor->is_init ? LINK_POWER_OFF : LINK_POWER_EXIT,
                    supervisor->options->grace_ms);
}

void power_check(struct supervisor *supervisor) {
    struct power *power = &supervisor->power;
    if (power->leaving) {
        if (supervisor->keeper.pid == 0)
            supervisor->loop.stop = true;
        return;
    }
    if (!power->stopping || supervisor->tasks.running > 0)
        return;
    if (!groups_empty(&supervisor->groups) || tree_has_orphans(supervisor)) {
        /* What was below a killed one is ours only now. */
        if (power->killing)
            tree_signal_orphans(supervisor, SIGKILL);
        return;
    }
    if (tell_idle(supervisor))
        leave(supervisor);
}

static void *sync_all(void *done) {
    sync();
    sem_post(done);
    return NULL;
}

/* A file system that hangs (a network mount whose server is gone) must not keep the machine up. */
static void sync_for_a_while(void) {
    static sem_t done;
    pthread_t thread;
    struct timespec end;
    sem_init(&done, 0, 0);
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += SYNC_WAIT_S;
    if (pthread_create(&thread, NULL, sync_all, &done) != 0) {
        sync();
        return;
    }
    while (sem_timedwait(&done, &end) < 0) {
        if (errno == EINTR)
            continue;
        note("not everything could be written to disk");
        return;
    }
}

int power_finish(struct supervisor *supervisor) {
    if (supervisor->pid == 1)
        kill(-1, SIGKILL); /* everybody else in the pid namespace */
    groups_deinit(&supervisor->groups);
    crew_deinit(&supervisor->spawners);
    crew_deinit(&supervisor->walkers);
    if (!supervisor->is_init)
        return supervisor->power.exit_code;
    sync_for_a_while();
    reboot(supervisor->power.mode == LINK_POWER_REBOOT ? RB_AUTOBOOT : RB_POWER_OFF);
    note("the machine can't be stopped: %s", strerror(errno));
    for (;;)
        pause(); /* an init that ends is a panic */
}
