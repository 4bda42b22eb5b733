#include "supervisor/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "supervisor/ending.h"
#include "supervisor/group_bounds.h"
#include "supervisor/proc.h"
#include "supervisor/program.h"
#include "supervisor/send.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define THREADS 16
#define STUCK_NS SECOND_NS
#define HUNG_NS (30 * SECOND_NS)
#define STORE_MAX (UINT64_C(64) << 20)
#define TIMEOUT_MAX_MS (UINT64_C(1) << 43) /* 278 years; in nanoseconds it still fits */

static void close_fd(int fd) {
    if (fd >= 0)
        close(fd);
}

static void give_group(struct task *task, bool unusable) {
    if (task->group != NULL)
        groups_give(&task->supervisor->groups, task->group, unusable);
    task->group = NULL;
}

/* The agent is told, if it asked for it; a child that was made is still to be reaped. */
static void fail(struct task *task, int err, uint32_t stage) {
    struct supervisor *supervisor = task->supervisor;
    bool program = task == supervisor->program;
    task->spawn_err = err;
    task->spawn_stage = stage;
    task->failed = true;
    bool known = task->generation == supervisor->keeper.generation && !task_disown(task);
    if (!program && known)
        task_owe(task, OWED_SPAWNED);
    else
        task_failure_told(task);
    tell_owed(supervisor);
    if (program)
        program_failed(supervisor, err);
    else
        power_check(supervisor); /* it may have been the last */
}

static void on_born(struct chore *chore) {
    struct task *task = container_of(chore, struct task, birth_chore);
    struct birth *birth = task->birth;
    deadline_cancel(&task->supervisor->loop.deadlines, &task->hung);
    task->birth = NULL;
    task->pidfd = birth->pidfd;
    task->pid = birth->pid;
    if (birth->group_unusable)
        give_group(task, true);
    if (birth->err == 0) {
        task->supervisor->processes_started++;
        task_started(task, birth);
    } else {
        give_group(task, false);
        if (task->reaped_early)
            task->pid = 0;
        task_set_pid(task);
        fail(task, birth->err, birth->stage);
    }
    spec_source_deinit(&birth->spec);
    free(birth);
}

static void run_birth(struct chore *chore) {
    birth_run(container_of(chore, struct task, birth_chore)->birth);
}

void spawn_kill(struct task *task) {
    struct birth *birth = task->birth;
    if (birth != NULL && birth->pid > 0 && !task->reaped_early)
        send_signal(birth->pidfd, birth->pid, SIGKILL);
}

/* Nothing came back for 30 s: an exec from a dead network mount, say. What is waited for dies, if
 * it can. */
static void on_hung(struct deadline *deadline) {
    struct task *task = container_of(deadline, struct task, hung);
    spawn_kill(task);
    deadline_arm(&task->supervisor->loop.deadlines, deadline, clock_now() + SECOND_NS);
}

static void watch_stuck(struct supervisor *supervisor) {
    int64_t at = crew_stuck_at(&supervisor->spawners, STUCK_NS);
    if (supervisor->spawners.first != NULL && at != INT64_MAX)
        deadline_arm(&supervisor->loop.deadlines, &supervisor->spawn_stuck, at);
}

static void drop_birth(struct task *task) {
    deadline_cancel(&task->supervisor->loop.deadlines, &task->hung);
    give_group(task, false);
    spec_source_deinit(&task->birth->spec);
    close_fd(task->birth->input);
    free(task->birth);
    task->birth = NULL;
}

/* A child that waits for nothing but a processor: the machine is slow, its start doesn't hang. */
static bool is_slow(const struct chore *chore) {
    const struct birth *birth = container_of(chore, const struct task, birth_chore)->birth;
    return birth->pid > 0 && proc_state(birth->nursery->proc, birth->pid) == 'R';
}

/* All threads hang: who waits for one is told so instead. */
static void on_stuck(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, spawn_stuck);
    int64_t now = clock_now();
    if (crew_stuck_at(&supervisor->spawners, STUCK_NS) <= now) {
        if (crew_any(&supervisor->spawners, is_slow)) {
            deadline_arm(&supervisor->loop.deadlines, deadline, now + STUCK_NS / 4);
            return;
        }
        for (struct chore *chore; (chore = crew_take_back(&supervisor->spawners)) != NULL;) {
            struct task *task = container_of(chore, struct task, birth_chore);
            drop_birth(task);
            fail(task, EBUSY, LINK_STAGE_BUSY);
        }
    }
    watch_stuck(supervisor);
}

static struct bounds bounds_of(const struct link_spawn *order) {
    struct bounds bounds = {.set = order->limits};
    memcpy(bounds.value, order->limit, sizeof bounds.value);
    return bounds;
}

static bool in_bounds(const struct link_spawn *order) {
    bool pty = (order->flags & LINK_SPAWN_PTY) != 0;
    struct bounds bounds = bounds_of(order);
    for (unsigned c = 0; c < 2; c++) {
        bool none = pty && c == 1;
        if ((order->store[c].size == 0) != none || order->store[c].size > STORE_MAX ||
            order->store[c].mode > STORE_BLOCK)
            return false;
    }
    return bounds_valid(&bounds) &&
           (!pty || (order->rows > 0 && order->cols > 0 && (order->flags & LINK_SPAWN_STDIN) == 0));
}

static struct birth *make_birth(struct task *task, const struct link_spawn *order,
                                const struct spec_source *spec, int input) {
    struct birth *birth = calloc(1, sizeof *birth);
    if (birth == NULL)
        return NULL;
    *birth = (struct birth){
        .nursery = &task->supervisor->nursery,
        .job = order->job,
        .flags = order->flags,
        .uid = order->uid,
        .gid = order->gid,
        .rows = order->rows,
        .cols = order->cols,
        .spec = *spec,
        .input = input,
        .pidfd = -1,
        .bounds = bounds_of(order),
    };
    for (unsigned c = 0; c < 2; c++) {
        birth->size[c] = order->store[c].size;
        birth->mode[c] = order->store[c].mode;
    }
    struct groups *groups = &task->supervisor->groups;
    task->group = groups_take(groups, group_bounds_needed(&birth->bounds, groups->controllers));
    if (task->group != NULL) {
        memcpy(birth->group, task->group->name, sizeof birth->group);
        birth->group_is_new = task->group->is_new;
    }
    return birth;
}

/* Fds are what bounds the number of jobs. An open stdin is one more, and so is each pipe that
 * outlives its job. */
static bool has_fds(const struct supervisor *supervisor, const struct link_spawn *order) {
    uint64_t open = (order->flags & LINK_SPAWN_STDIN_OPEN) != 0;
    uint64_t taken = (uint64_t)supervisor->tasks.running * FDS_A_JOB + supervisor->inputs.fds +
                     supervisor->tasks.held;
    return taken + FDS_A_JOB + open <= supervisor->job_fds;
}

static int begin(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    int err = crew_submit(&supervisor->spawners, &task->birth_chore);
    if (err < 0)
        return err;
    deadline_arm(&supervisor->loop.deadlines, &task->hung, clock_now() + HUNG_NS);
    watch_stuck(supervisor);
    return 0;
}

void spawn_admitted(struct task *task, bool admitted) {
    int err = admitted ? begin(task) : -ENOMEM;
    if (err == 0)
        return;
    drop_birth(task);
    fail(task, -err, LINK_STAGE_NONE);
}

/* 0, or -errno: nothing was taken. */
static int submit(struct supervisor *supervisor, const struct link_spawn *order,
                  const struct spec_source *spec, int input) {
    struct task *task = task_new(supervisor, order->job);
    if (task == NULL)
        return -ENOMEM;
    task->flags = order->flags & ~(uint32_t)LINK_SPAWN_SPEC_HERE; /* that is how it came */
    task->grace_ms = order->grace_ms;
    task->timeout_ms = order->timeout_ms < TIMEOUT_MAX_MS ? order->timeout_ms : TIMEOUT_MAX_MS;
    task->birth_chore.run = run_birth;
    task->birth_chore.done = on_born;
    task->hung.fire = on_hung;
    if ((order->flags & LINK_SPAWN_STDIN_OPEN) != 0)
        input_expect(task);
    task->birth = make_birth(task, order, spec, input);
    int err = task->birth != NULL ? admission_ask(task) : -ENOMEM;
    if (err > 0)
        err = begin(task);
    if (err < 0) {
        give_group(task, false);
        free(task->birth);
        task->birth = NULL;
        task_free(task);
        return err;
    }
    keeper_watch(supervisor);
    return 0;
}

const char *spawn_take(struct supervisor *supervisor, const struct link_spawn *order,
                       struct spec_source *spec, int input) {
    const char *wrong = NULL;
    int err = 0;
    uint32_t stage = LINK_STAGE_NONE;
    if (order->job == 0 || task_find(&supervisor->tasks, order->job) != NULL)
        wrong = "a job id that is taken";
    else if (supervisor->power.stopping)
        err = -EBUSY, stage = LINK_STAGE_BUSY;
    else if ((order->flags & LINK_SPAWN_MAIN) == 0 && !in_bounds(order))
        err = -EINVAL;
    else if (supervisor->tasks.running >= supervisor->max_jobs || !has_fds(supervisor, order))
        err = -EAGAIN;
    else
        err = submit(supervisor, order, spec, input);
    if (wrong != NULL || err < 0) {
        spec_source_deinit(spec);
        close_fd(input);
    }
    if (err < 0 && (order->flags & LINK_SPAWN_MAIN) == 0)
        spawn_refuse(supervisor, order->job, -err, stage);
    return wrong;
}

/* By a task that failed at once: many that a full link holds up are not the agent's end. */
void spawn_refuse(struct supervisor *supervisor, uint64_t job, int err, uint32_t stage) {
    if (job == 0 || task_find(&supervisor->tasks, job) != NULL)
        return; /* whose answer would it be? */
    struct task *task = task_new(supervisor, job);
    if (task == NULL)
        keeper_kill(supervisor, "no memory for its answers");
    else
        fail(task, err, stage);
}

int spawn_init(struct supervisor *supervisor) {
    supervisor->spawn_stuck.fire = on_stuck;
    return crew_init(&supervisor->spawners, &supervisor->loop, THREADS);
}
