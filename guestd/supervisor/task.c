#include "supervisor/task.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/drain.h"
#include "supervisor/ending.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"
#include "supervisor/tree.h"

/* How long the answer waits for the end of pipes that others hold. Contract §4. */
#define PIPES_WAIT_NS (200 * MS_NS)
/* How long a stream waits for its reader after an agent's death. */
#define ADOPTION_NS (10 * SECOND_NS)
/* Answered ones that are kept for an agent that never forgets. */
#define ANSWERED_MOST 8192

static double unix_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ── the table ── */

static void on_adoption(struct deadline *deadline);

void tasks_init(struct tasks *tasks) {
    tasks->last_owing = &tasks->owing;
    tasks->adoption.fire = on_adoption;
}

static struct task **job_bucket(struct tasks *tasks, uint64_t job) {
    return &tasks->by_job[(job ^ job >> 32) % TASK_BUCKETS];
}

static struct task **pid_bucket(struct tasks *tasks, pid_t pid) {
    return &tasks->by_pid[(unsigned)pid % TASK_BUCKETS];
}

struct task *task_find(struct tasks *tasks, uint64_t job) {
    struct task *task = *job_bucket(tasks, job);
    while (task != NULL && task->job != job)
        task = task->next_by_job;
    return task;
}

struct task *task_find_pid(struct tasks *tasks, pid_t pid) {
    struct task *task = *pid_bucket(tasks, pid);
    while (task != NULL && task->pid != pid)
        task = task->next_by_pid;
    return task;
}

void task_set_pid(struct task *task) {
    if (task->pid <= 0)
        return;
    struct task **bucket = pid_bucket(&task->supervisor->tasks, task->pid);
    task->next_by_pid = *bucket;
    *bucket = task;
}

/* From reaping on the number may be another's. */
static void clear_pid(struct task *task) {
    for (struct task **at = pid_bucket(&task->supervisor->tasks, task->pid); *at != NULL;
         at = &(*at)->next_by_pid) {
        if (*at == task) {
            *at = task->next_by_pid;
            break;
        }
    }
}

static void on_settle(struct deadline *deadline) {
    struct task *task = container_of(deadline, struct task, settle);
    task->waited_out = true;
    for (unsigned c = 0; c < 2; c++)
        drain_again(&task->pipe[c]);
    task_settle(task);
}

struct task *task_new(struct supervisor *supervisor, uint64_t job) {
    struct task *task = calloc(1, sizeof *task);
    if (task == NULL)
        return NULL;
    task->supervisor = supervisor;
    task->job = job;
    task->generation = supervisor->keeper.generation;
    task->pidfd = -1;
    task->store.fd = -1;
    task->settle.fire = on_settle;
    input_init(&task->input);
    ending_init(task);
    for (unsigned c = 0; c < 2; c++)
        task->pipe[c] = (struct task_pipe){.source.fd = -1, .task = task, .channel = c};

    struct tasks *tasks = &supervisor->tasks;
    task->next_by_job = *job_bucket(tasks, job);
    *job_bucket(tasks, job) = task;
    task->older = tasks->newest;
    *(task->older != NULL ? &task->older->newer : &tasks->oldest) = task;
    tasks->newest = task;
    tasks->running++;
    return task;
}

/* ── whom it waits for ── */

static bool blocks(const struct task *task) {
    return task->store.channel[0].mode == STORE_BLOCK || task->store.channel[1].mode == STORE_BLOCK;
}

static int64_t adoption_ns(const struct supervisor *supervisor) {
    return supervisor->options->adoption_ms > 0 ? (int64_t)supervisor->options->adoption_ms * MS_NS
                                                : ADOPTION_NS;
}

void task_orphan(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    task->armed = false;
    input_let_go(&task->input);
    while (task->waiters != NULL) {
        struct waiter *waiter = task->waiters;
        task->waiters = waiter->next;
        free(waiter);
    }
    if (task->orphaned_ns != 0 || !blocks(task))
        return;
    task->orphaned_ns = clock_now();
    if (!supervisor->tasks.adoption.armed)
        deadline_arm(&supervisor->loop.deadlines, &supervisor->tasks.adoption,
                     task->orphaned_ns + adoption_ns(supervisor));
}

void task_adopt(struct task *task) {
    task->orphaned_ns = 0;
}

void task_let_go(struct task *task) {
    task->orphaned_ns = 0;
    for (unsigned c = 0; c < 2; c++) {
        if (store_let_go(&task->store, c))
            drain_resume(&task->pipe[c]);
    }
    budget_count(task);
}

static void on_adoption(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, tasks.adoption);
    int64_t now = clock_now(), wait = adoption_ns(supervisor), next = INT64_MAX;
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        if (task->orphaned_ns == 0)
            continue;
        if (task->orphaned_ns + wait <= now)
            task_let_go(task);
        else if (task->orphaned_ns + wait < next)
            next = task->orphaned_ns + wait;
    }
    if (next != INT64_MAX)
        deadline_arm(&supervisor->loop.deadlines, deadline, next);
}

static void unlink_task(struct task *task) {
    struct tasks *tasks = &task->supervisor->tasks;
    for (struct task **at = job_bucket(tasks, task->job); *at != NULL; at = &(*at)->next_by_job) {
        if (*at == task) {
            *at = task->next_by_job;
            break;
        }
    }
    *(task->older != NULL ? &task->older->newer : &tasks->oldest) = task->newer;
    *(task->newer != NULL ? &task->newer->older : &tasks->newest) = task->older;
    if (!task->owing)
        return;
    for (struct task **at = &tasks->owing; *at != NULL; at = &(*at)->next_owing) {
        if (*at == task) {
            *at = task->next_owing;
            if (*at == NULL)
                tasks->last_owing = at;
            break;
        }
    }
}

void task_free(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    unlink_task(task);
    task_disown(task);
    if (task->state == TASK_ANSWERED)
        supervisor->tasks.answered--;
    else if (task->state != TASK_FORGOTTEN)
        supervisor->tasks.running--;
    ending_stop(task);
    deadline_cancel(&supervisor->loop.deadlines, &task->settle);
    deadline_cancel(&supervisor->loop.deadlines, &task->hung);
    for (unsigned c = 0; c < 2; c++)
        drain_stop(&task->pipe[c]);
    input_stop(task);
    task_close_store(task);
    budget_leave(task);
    if (task->pidfd >= 0)
        close(task->pidfd);
    if (task->group != NULL)
        groups_give(&supervisor->groups, task->group, false);
    tree_forget(task);
    free(task);
    keeper_watch(supervisor);
}

void task_close_store(struct task *task) {
    if (task->state == TASK_ANSWERED && task->store.fd >= 0)
        task->supervisor->tasks.stores--;
    store_deinit(&task->store);
}

bool task_is_over(const struct task *task) {
    return task->state == TASK_ANSWERED || task->state == TASK_FORGOTTEN;
}

static void free_if_unheld(struct task *task) {
    if (drain_open(task) == 0 && task->input.source.fd < 0)
        task_free(task);
}

void task_forget(struct task *task) {
    task_disown(task);
    task->owed = 0;
    task->armed = false;
    task_let_go(task);
    task_close_store(task);
    budget_leave(task);
    task->supervisor->tasks.answered--;
    task->state = TASK_FORGOTTEN;
    free_if_unheld(task);
}

void task_owe(struct task *task, enum task_owed what) {
    struct tasks *tasks = &task->supervisor->tasks;
    if (what == OWED_JOB && (task->owed & OWED_JOB) == 0)
        task->supervisor->keeper.table_left++;
    task->owed |= what;
    if (task->owing)
        return;
    task->owing = true;
    task->next_owing = NULL;
    *tasks->last_owing = task;
    tasks->last_owing = &task->next_owing;
}

bool task_disown(struct task *task) {
    if ((task->owed & OWED_JOB) == 0)
        return false;
    task->supervisor->keeper.table_left--;
    task->owed = 0;
    return true;
}

/* ── its life ── */

static void owe_now(struct task *task, enum task_owed what) {
    task_owe(task, what);
    tell_owed(task->supervisor);
}

void task_started(struct task *task, const struct birth *birth) {
    task->state = TASK_RUNNING;
    task->store = birth->store;
    task->started_at = birth->started_at;
    task->started_ns = birth->started_ns;
    if (!task->reaped_early)
        task_set_pid(task);
    /* An agent that didn't ask for it has not heard of it: it learns of it as it did of the others.
     */
    const struct keeper *keeper = &task->supervisor->keeper;
    bool asked = task->generation == keeper->generation && keeper->pid > 0;
    if (!asked || task->inherited)
        task_orphan(task);
    budget_count(task);
    if (birth->in >= 0)
        input_begin(task, birth->in, (task->flags & LINK_SPAWN_PTY) != 0);
    owe_now(task, asked ? OWED_SPAWNED : OWED_JOB);
    for (unsigned c = 0; c < 2; c++) {
        task->pipe[c].source.fd = birth->out[c];
        drain_begin(&task->pipe[c]);
    }
    ending_arm(task);
    if (task == task->supervisor->program && keeper->generation == 0)
        keeper_start(task->supervisor);
    if (task->reaped_early)
        task_reaped(task, task->early_status, &task->early_usage);
}

void task_failure_told(struct task *task) {
    if (task->pid == 0)
        task_free(task);
}

static uint64_t to_ms(struct timeval time) {
    return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_usec / 1000;
}

static void answer_waiters(struct task *task) {
    while (task->waiters != NULL) {
        struct waiter *waiter = task->waiters;
        task->waiters = waiter->next;
        tell_waiter(task->supervisor, waiter);
    }
}

void task_reaped(struct task *task, int wait_status, const struct rusage *usage) {
    if (task->state == TASK_STARTING && !task->failed) {
        task->reaped_early = true;
        task->early_status = wait_status;
        task->early_usage = *usage;
        return;
    }
    if (!task->reaped_early)
        clear_pid(task);
    if (task->failed) {
        task->pid = 0;
        if ((task->owed & OWED_SPAWNED) == 0)
            task_free(task);
        return;
    }
    task->state = TASK_REAPED;
    task->reaped_ns = clock_now();
    task->result = (struct link_result){
        .wait_status = wait_status,
        .oom_killed = -1,
        .duration_ms = (uint64_t)((task->reaped_ns - task->started_ns) / MS_NS),
        .cpu_user_ms = to_ms(usage->ru_utime),
        .cpu_sys_ms = to_ms(usage->ru_stime),
        .max_rss_kb = (uint64_t)usage->ru_maxrss,
        .exited_at = unix_now(),
    };
    if (task->pidfd >= 0)
        close(task->pidfd);
    task->pidfd = -1;
    answer_waiters(task);
    ending_leader_gone(task);
    input_leader_gone(task);
    for (unsigned c = 0; c < 2; c++)
        drain_last(&task->pipe[c]);
    if (!drain_done(&task->pipe[0], false) || !drain_done(&task->pipe[1], false))
        deadline_arm(&task->supervisor->loop.deadlines, &task->settle,
                     task->reaped_ns + PIPES_WAIT_NS);
    task_settle(task);
}

static enum link_reason reason(const struct task *task, int oom_kills) {
    int status = task->result.wait_status;
    if (task->ending != LINK_REASON_EXITED && task->ending != LINK_REASON_KILLED)
        return task->ending;
    if (!WIFSIGNALED(status))
        return LINK_REASON_EXITED;
    if (WTERMSIG(status) <= 64 && (task->signals >> (WTERMSIG(status) - 1) & 1) != 0)
        return LINK_REASON_KILLED;
    if (WTERMSIG(status) == SIGKILL && oom_kills > 0)
        return LINK_REASON_OOM_KILLED;
    return LINK_REASON_SIGNALED;
}

/* The agent forgets exited jobs by its own rules; this holds if it doesn't. Where fds are few it
 * goes on reading what it has mapped, which counts as before; the next agent won't know of them. */
static void forget_oldest(struct tasks *tasks) {
    struct task *task = tasks->oldest;
    while (task != NULL &&
           (tasks->stores > tasks->stores_most || tasks->answered > ANSWERED_MOST)) {
        struct task *next = task->newer;
        if (task->state == TASK_ANSWERED && task->owed == 0) {
            if (tasks->answered > ANSWERED_MOST)
                task_forget(task);
            else if (task->store.fd >= 0)
                task_close_store(task);
        }
        task = next;
    }
}

static void answer(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    int oom_kills = task->group != NULL ? group_oom_kills(&supervisor->groups, task->group) : -1;
    task->result.oom_killed = oom_kills > 0 ? 1 : oom_kills;
    task->result.reason = reason(task, oom_kills);
    task->result.descendants = task->alive.count;
    task->result.killed_descendants = pids_beyond(&task->hit, &task->alive);
    task->result.pipes_open = drain_open(task) > 0;
    supervisor->tasks.held += drain_open(task);
    task->state = TASK_ANSWERED;
    supervisor->tasks.running--;
    supervisor->tasks.answered++;
    supervisor->tasks.stores += task->store.fd >= 0;
    budget_count(task);
    ending_stop(task);
    deadline_cancel(&supervisor->loop.deadlines, &task->settle);
    /* A LINK_JOB that isn't out yet tells the end too. */
    if ((task->owed & OWED_JOB) == 0)
        task_owe(task, OWED_EXITED);
    tell_owed(supervisor);
    /* After the answer: nobody waits for this. */
    input_last(task);
    if (task->group != NULL)
        groups_give(&supervisor->groups, task->group, false);
    task->group = NULL;
    forget_oldest(&supervisor->tasks);
    keeper_watch(supervisor);
}

void task_settle(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    if (task->state == TASK_FORGOTTEN) {
        free_if_unheld(task);
        return;
    }
    if (task->state != TASK_REAPED)
        return;
    if (!drain_done(&task->pipe[0], task->waited_out) ||
        !drain_done(&task->pipe[1], task->waited_out))
        return;
    if (!ending_done(task))
        return;
    bool program = task == supervisor->program;
    int status = task->result.wait_status;
    answer(task);
    if (program)
        power_program_ended(supervisor,
                            WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    else if (supervisor->power.stopping)
        power_check(supervisor);
}
