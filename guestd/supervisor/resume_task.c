#include "supervisor/resume_task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "supervisor/drain.h"
#include "supervisor/resume.h"
#include "supervisor/state.h"

static void fail(struct resume *resume, int err) {
    if (resume->err == 0)
        resume->err = err;
}

static void arm(struct task *task, struct deadline *deadline, int64_t due) {
    if (due != 0)
        deadline_arm(&task->supervisor->loop.deadlines, deadline, due);
}

static void set_state(struct task *task, enum saved_task_state state) {
    struct tasks *tasks = &task->supervisor->tasks;
    task->state = state == SAVED_RUNNING    ? TASK_RUNNING
                  : state == SAVED_REAPED   ? TASK_REAPED
                  : state == SAVED_ANSWERED ? TASK_ANSWERED
                                            : TASK_FORGOTTEN;
    if (task->state == TASK_RUNNING)
        task_set_pid(task);
    if (task_is_over(task)) {
        tasks->running--;
        tasks->held += drain_open(task);
    }
    if (task->state == TASK_ANSWERED) {
        tasks->answered++;
        tasks->stores++;
    }
}

static void take_task(struct resume *resume, struct supervisor *supervisor,
                      const struct saved_item *item) {
    struct saved_task saved;
    saved_get(item, &saved, sizeof saved);
    struct task *task =
        task_find(&supervisor->tasks, saved.job) == NULL ? task_new(supervisor, saved.job) : NULL;
    resume->task = task;
    if (task == NULL) {
        fail(resume, -ENOMEM);
        return;
    }
    task->flags = saved.spawn;
    task->grace_ms = saved.grace_ms;
    task->timeout_ms = saved.timeout_ms;
    task->pid = saved.pid;
    task->pidfd = resume_claim(resume, saved.pidfd);
    task->started_at = saved.started_at;
    task->started_ns = saved.started_ns;
    task->reaped_ns = saved.reaped_ns;
    task->orphaned_ns = saved.orphaned_ns;
    task->waited_out = (saved.flags & SAVED_TASK_WAITED_OUT) != 0;
    task->ending = saved.ending;
    task->killing = (saved.flags & SAVED_TASK_KILLING) != 0;
    task->killing_ns = saved.killing_ns;
    task->sweep_ns = saved.sweep_ns;
    task->signals = saved.signals;
    for (unsigned c = 0; c < 2; c++) {
        task->pipe[c].source.fd = resume_claim(resume, saved.pipe[c]);
        task->pipe[c].must_read = saved.must_read[c];
    }
    set_state(task, saved.state);
    arm(task, &task->timeout, saved.timeout_due);
    arm(task, &task->sweep, saved.sweep_due);
    arm(task, &task->settle, saved.settle_due);
}

static void take_store(struct resume *resume, struct store *store, const struct saved_item *item) {
    struct saved_store saved;
    saved_get(item, &saved, sizeof saved);
    store->fd = resume_claim(resume, saved.fd);
    store->mapped = (size_t)saved.mapped;
    store->facts_at = saved.facts_at;
    store->facts_len = saved.facts_len;
    for (unsigned c = 0; c < 2; c++) {
        const struct saved_channel *channel = &saved.channel[c];
        store->channel[c] = (struct store_channel){
            .end = channel->end,
            .oldest = channel->oldest,
            .acked = channel->acked,
            .at = channel->at,
            .size = channel->size,
            .kill_over = channel->kill_over,
            .mode = channel->mode,
            .eof = channel->eof != 0,
        };
    }
    int err = (saved.flags & SAVED_STORE_WRITTEN) != 0 ? store_map_again(store) : 0;
    if (store->fd < 0 || err < 0)
        fail(resume, err < 0 ? err : -EBADMSG);
}

static void take_pids(struct pids *pids, const struct saved_item *item) {
    for (uint32_t at = 0; at + sizeof(int32_t) <= item->len; at += sizeof(int32_t)) {
        int32_t pid;
        memcpy(&pid, (const uint8_t *)item->bytes + at, sizeof pid);
        pids_add(pids, pid);
    }
}

static void take_input(struct resume *resume, struct task *task, const struct saved_item *item) {
    struct saved_input saved;
    saved_get(item, &saved, sizeof saved);
    struct input *input = &task->input;
    if ((saved.flags & SAVED_INPUT_COUNTED) != 0)
        input_expect(task);
    input_begin(task, resume_claim(resume, saved.fd), (saved.flags & SAVED_INPUT_TERMINAL) != 0);
    input->line_open = (saved.flags & SAVED_INPUT_LINE_OPEN) != 0;
    input->closed = (saved.flags & SAVED_INPUT_CLOSED) != 0;
    input->ends = saved.ends;
    input->taken = saved.taken;
    input->written = saved.written;
}

static void take_waiting(struct resume *resume, struct task *task, const struct saved_item *item) {
    bool ends = item->type == SAVED_INPUT_END;
    if (task->input.source.fd < 0)
        fail(resume, -EBADMSG);
    else if (input_give(task, item->bytes, ends ? 0 : item->len, ends) < 0)
        fail(resume, -ENOMEM);
}

/* All of its records were there. */
static void end_task(struct resume *resume) {
    struct task *task = resume->task;
    resume->task = NULL;
    if (task == NULL || resume->err != 0)
        return;
    bool forgotten = task->state == TASK_FORGOTTEN;
    if ((task->store.fd < 0) != forgotten) {
        fail(resume, -EBADMSG);
        return;
    }
    for (unsigned c = 0; c < 2; c++)
        drain_begin(&task->pipe[c]);
    input_go_on(task);
    if (forgotten) {
        task_settle(task); /* nobody may hold it any more */
        return;
    }
    /* Somebody must ask again whether it is over. */
    if (task->state == TASK_REAPED && !task->settle.armed && !task->sweep.armed)
        arm(task, &task->settle, clock_now());
    if (task->state != TASK_ANSWERED) /* those in the order of their exits: count_answered */
        budget_count(task);
}

void resume_task_item(struct resume *resume, struct supervisor *supervisor,
                      const struct saved_item *item) {
    struct task *task = resume->task;
    uint32_t flags;
    if (item->type == SAVED_TASK) {
        end_task(resume);
        take_task(resume, supervisor, item);
        return;
    }
    if (task == NULL)
        return;
    switch (item->type) {
    case SAVED_STORE:
        take_store(resume, &task->store, item);
        break;
    case SAVED_RESULT:
        saved_get(item, &task->result, sizeof task->result);
        break;
    case SAVED_TASK_GROUP:
        task->group = resume_group(resume, item, &flags);
        break;
    case SAVED_HIT:
        take_pids(&task->hit, item);
        break;
    case SAVED_ALIVE:
        take_pids(&task->alive, item);
        break;
    case SAVED_INPUT:
        take_input(resume, task, item);
        break;
    case SAVED_INPUT_BYTES:
    case SAVED_INPUT_END:
        take_waiting(resume, task, item);
        break;
    default: /* of a newer build */
        break;
    }
}

static int by_exit(const void *a, const void *b) {
    const struct task *x = *(struct task *const *)a, *y = *(struct task *const *)b;
    return (x->reaped_ns > y->reaped_ns) - (x->reaped_ns < y->reaped_ns);
}

/* The budget takes from the oldest first. */
static void count_answered(struct resume *resume, struct supervisor *supervisor) {
    struct tasks *tasks = &supervisor->tasks;
    struct task **all = calloc(tasks->answered + 1, sizeof *all);
    unsigned count = 0;
    if (all == NULL) {
        fail(resume, -ENOMEM);
        return;
    }
    for (struct task *task = tasks->oldest; task != NULL; task = task->newer) {
        if (task->state == TASK_ANSWERED)
            all[count++] = task;
    }
    qsort(all, count, sizeof *all, by_exit);
    for (unsigned i = 0; i < count; i++)
        budget_count(all[i]);
    free(all);
}

void resume_tasks_end(struct resume *resume, struct supervisor *supervisor) {
    struct tasks *tasks = &supervisor->tasks;
    end_task(resume);
    if (resume->err != 0)
        return;
    count_answered(resume, supervisor);
    bool orphaned = false;
    for (struct task *task = tasks->oldest; task != NULL; task = task->newer)
        orphaned |= task->orphaned_ns != 0;
    if (orphaned) /* it looks who has waited long enough, and when the next one has */
        deadline_arm(&supervisor->loop.deadlines, &tasks->adoption, clock_now());
}
