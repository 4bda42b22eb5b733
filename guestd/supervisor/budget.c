#include "supervisor/budget.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "supervisor/drain.h"
#include "supervisor/note.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define A_JOBS_OWN 3u /* pages: its head, and one of each ring */
#define FLOOR 4u      /* pages of output: a ring that holds no more doesn't move for others */
#define STEPS 4       /* stores that give way in one turn, and … */
#define COPY_MOST ((UINT64_C(8) << 20) / STORE_PAGE) /* … the pages of a ring that are copied */
#define WOKEN 64
#define PATIENCE_NS SECOND_NS

static uint64_t below(uint64_t held, uint64_t bound) {
    return held < bound ? bound - held : 0;
}

/* Rings don't grow into the last sixteenth: half of it is for starts, and all for stores that move,
 * but a quarter: what these leave only when the agent lets go of it is not to keep starts waiting.
 */
static uint64_t room_to_grow(const struct budget *budget) {
    return below(budget->held, budget->most - budget->most / 16);
}

static uint64_t room_to_start(const struct budget *budget) {
    uint64_t room = below(budget->held, budget->most);
    uint64_t later = below(budget->held - budget->leaving, budget->most - budget->most / 32);
    return room < later ? room : later;
}

uint64_t budget_max_jobs(const struct supervisor *supervisor) {
    const struct budget *budget = &supervisor->budget;
    return budget->most == 0 ? UINT64_MAX : room_to_start(budget) / A_JOBS_OWN;
}

/* ── who could give way ── */

static bool drops(const struct store *store) {
    for (unsigned c = 0; c < 2; c++) {
        if (store->channel[c].size > 0 && store->channel[c].mode != STORE_DROP)
            return false;
    }
    return true;
}

static uint64_t output_pages(const struct task *task) {
    return store_channel_pages(&task->store, 0) + store_channel_pages(&task->store, 1);
}

static void list_by_size(struct task *task) {
    struct budget *budget = &task->supervisor->budget;
    bool movable = (task->state == TASK_RUNNING || task->state == TASK_REAPED) &&
                   task->share.leaving == 0 && task->store.fd >= 0 && drops(&task->store);
    int64_t key = movable ? -(int64_t)output_pages(task) : 0;
    if (-key <= (int64_t)FLOOR)
        heap_take(&budget->largest, &task->share.size);
    else if (!task->share.size.in || task->share.size.key != key)
        heap_put(&budget->largest, &task->share.size, key);
}

static void list_exited(struct task *task) {
    struct budget *budget = &task->supervisor->budget;
    struct share *share = &task->share;
    if (share->listed || task->state != TASK_ANSWERED || task->store.fd < 0 ||
        output_pages(task) == 0)
        return;
    share->listed = true;
    share->newer = NULL;
    share->older = budget->newest_exited;
    *(share->older != NULL ? &share->older->share.newer : &budget->exited) = task;
    budget->newest_exited = task;
}

static void unlist_exited(struct task *task) {
    struct budget *budget = &task->supervisor->budget;
    struct share *share = &task->share;
    if (!share->listed)
        return;
    share->listed = false;
    *(share->older != NULL ? &share->older->share.newer : &budget->exited) = share->newer;
    *(share->newer != NULL ? &share->newer->share.older : &budget->newest_exited) = share->older;
}

/* ── counting ── */

/* In the order of their coming; all, once nothing more is on its way: then they don't wait again.
 */
static void wake(struct supervisor *supervisor) {
    struct budget *budget = &supervisor->budget;
    bool all = budget->leaving == 0 || budget->impatient;
    for (unsigned n = 0; budget->waiting != NULL && (all || n < WOKEN); n++) {
        struct task_pipe *pipe = budget->waiting;
        budget_forget_pipe(pipe);
        drain_resume(pipe);
    }
    admission_wake(supervisor);
    budget_calm(supervisor);
}

void budget_calm(struct supervisor *supervisor) {
    if (supervisor->budget.waiting == NULL && supervisor->admission.first == NULL)
        deadline_cancel(&supervisor->loop.deadlines, &supervisor->budget.patience);
}

static void give_back(struct supervisor *supervisor, uint64_t pages) {
    supervisor->budget.held -= pages;
    if (pages > 0)
        wake(supervisor);
}

void budget_count(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    if (supervisor->budget.most == 0 || task->state == TASK_STARTING)
        return;
    uint64_t before = task->share.held;
    if (task->store.fd >= 0)
        task->share.held = store_pages(&task->store);
    list_by_size(task);
    list_exited(task);
    if (task->share.held >= before)
        supervisor->budget.held += task->share.held - before;
    else
        give_back(supervisor, before - task->share.held);
}

void budget_leave(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    struct share *share = &task->share;
    heap_take(&supervisor->budget.largest, &share->size);
    unlist_exited(task);
    supervisor->budget.leaving -= share->leaving;
    uint64_t pages = share->held + share->leaving;
    share->held = share->leaving = 0;
    give_back(supervisor, pages);
}

static void release(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    uint64_t pages = task->share.leaving;
    if (pages == 0)
        return;
    task->share.leaving = 0;
    supervisor->budget.leaving -= pages;
    list_by_size(task);
    give_back(supervisor, pages);
}

/* Who waits has reason to again, for as long. */
void budget_let_go(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    struct budget *budget = &supervisor->budget;
    budget->impatient = false;
    if (task->share.leaving > 0 && budget->patience.armed)
        deadline_arm(&supervisor->loop.deadlines, &budget->patience, clock_now() + PATIENCE_NS);
    release(task);
}

void budget_agent_gone(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer)
        release(task);
    supervisor->budget.impatient = false;
}

/* ── giving way ── */

/* Whether the agent may have the store mapped: it was sent, or is on its way. */
static bool is_known(const struct task *task) {
    return task->supervisor->keeper.pid > 0 && (task->owed & (OWED_JOB | OWED_SPAWNED)) == 0;
}

/* False: it could not be moved. */
static bool move(struct task *task, const uint64_t size[2]) {
    struct supervisor *supervisor = task->supervisor;
    struct share *share = &task->share;
    int err = store_move(&task->store, size);
    if (err < 0) {
        note("job %llx: its output can't be moved: %s", (unsigned long long)task->job,
             strerror(-err));
        return false;
    }
    if (is_known(task)) {
        share->leaving = share->held;
        share->held = 0;
        supervisor->budget.leaving += share->leaving;
        task_owe(task, OWED_STORE);
    }
    budget_count(task);
    tell_owed(supervisor);
    return true;
}

/* One that the agent hasn't let go of since it moved is left: what it had then is still counted. */
static bool shed_oldest(struct supervisor *supervisor) {
    struct task *task = supervisor->budget.exited;
    while (task != NULL && task->share.leaving > 0)
        task = task->share.newer;
    if (task == NULL)
        return false;
    unlist_exited(task);
    if (move(task, (uint64_t[2]){0, 0}))
        return true;
    list_exited(task);
    return false;
}

/* A record without output costs its page: where these fill a small bound, the oldest is left to the
 * agent alone, which has it in its own memory. */
static bool drop_oldest_record(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        if (task->state != TASK_ANSWERED || task->owed != 0 || task->store.fd < 0 ||
            task->share.leaving > 0 || output_pages(task) > 0)
            continue;
        task_close_store(task);
        budget_leave(task);
        return true;
    }
    return false;
}

/* Half of its larger ring goes. `mine`: pages of the one who asks, who doesn't grow at the cost of
 * those that aren't much larger; 0: it keeps what others drop. */
static bool shrink_largest(struct supervisor *supervisor, uint64_t mine) {
    struct budget *budget = &supervisor->budget;
    if (budget->largest.least == NULL)
        return false;
    struct task *task = container_of(budget->largest.least, struct task, share.size);
    uint64_t pages[2] = {store_channel_pages(&task->store, 0),
                         store_channel_pages(&task->store, 1)};
    if (pages[0] + pages[1] <= 2 * mine)
        return false;
    unsigned larger = pages[1] > pages[0];
    uint64_t size[2] = {task->store.channel[0].size, task->store.channel[1].size};
    uint64_t others = task->share.held - pages[larger];
    uint64_t fits = below(budget->held + others, budget->most - budget->most / 64);
    uint64_t kept = pages[larger] / 2;
    kept = kept < COPY_MOST ? kept : COPY_MOST;
    kept = kept < fits ? kept : fits;
    if (kept == 0)
        return false;
    size[larger] = kept * STORE_PAGE;
    if (pages[!larger] > COPY_MOST)
        size[!larger] = COPY_MOST * STORE_PAGE;
    return move(task, size);
}

static void make_room(struct supervisor *supervisor, uint64_t pages, uint64_t mine) {
    struct budget *budget = &supervisor->budget;
    for (unsigned i = 0; i < STEPS && room_to_grow(budget) + budget->leaving < pages; i++) {
        if (!shed_oldest(supervisor) && !shrink_largest(supervisor, mine) &&
            !drop_oldest_record(supervisor))
            return;
    }
}

bool budget_admit(struct task *task) {
    struct supervisor *supervisor = task->supervisor;
    struct budget *budget = &supervisor->budget;
    if (budget->most == 0)
        return true;
    if (room_to_start(budget) < A_JOBS_OWN)
        make_room(supervisor, A_JOBS_OWN, 0);
    if (room_to_start(budget) < A_JOBS_OWN)
        return false;
    task->share.held = A_JOBS_OWN;
    budget->held += A_JOBS_OWN;
    return true;
}

/* ── asking ── */

static void on_patience(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, budget.patience);
    supervisor->budget.impatient = true;
    wake(supervisor);
}

void budget_init(struct supervisor *supervisor, uint64_t bytes) {
    struct budget *budget = &supervisor->budget;
    budget->most = bytes / STORE_PAGE;
    budget->last_waiting = &budget->waiting;
    budget->patience.fire = on_patience;
}

void budget_forget_pipe(struct task_pipe *pipe) {
    struct budget *budget = &pipe->task->supervisor->budget;
    if (!pipe->waits)
        return;
    pipe->waits = false;
    struct task_pipe **at = &budget->waiting;
    while (*at != pipe)
        at = &(*at)->next_waiting;
    *at = pipe->next_waiting;
    if (*at == NULL)
        budget->last_waiting = at;
}

bool budget_wait(struct supervisor *supervisor) {
    struct budget *budget = &supervisor->budget;
    if (budget->leaving == 0 || budget->impatient)
        return false;
    if (!budget->patience.armed)
        deadline_arm(&supervisor->loop.deadlines, &budget->patience, clock_now() + PATIENCE_NS);
    return true;
}

static void add_waiting(struct task_pipe *pipe) {
    struct budget *budget = &pipe->task->supervisor->budget;
    if (pipe->waits)
        return;
    pipe->waits = true;
    pipe->next_waiting = NULL;
    *budget->last_waiting = pipe;
    budget->last_waiting = &pipe->next_waiting;
}

/* More than is asked for: what gives way is gone only when the agent knows. */
static uint64_t ahead(const struct budget *budget, uint64_t pages) {
    return pages + budget->most / 16;
}

size_t budget_room(struct task_pipe *pipe, size_t want) {
    struct task *task = pipe->task;
    struct supervisor *supervisor = task->supervisor;
    struct budget *budget = &supervisor->budget;
    size_t fits = store_fits(&task->store, pipe->channel);
    if (budget->most == 0 || fits >= want)
        return want;
    int bytes = 0;
    if (ioctl(pipe->source.fd, FIONREAD, &bytes) < 0 || bytes <= 0)
        bytes = 1; /* the end, perhaps: who is told so needs a read */
    want = want < (size_t)bytes ? want : (size_t)bytes;
    if (fits >= want)
        return want;
    uint64_t pages = (want - fits + STORE_PAGE - 1) / STORE_PAGE;
    bool drop = task->store.channel[pipe->channel].mode == STORE_DROP;
    if (room_to_grow(budget) < ahead(budget, pages))
        make_room(supervisor, ahead(budget, pages), drop ? output_pages(task) : 0);
    fits = store_fits(&task->store, pipe->channel); /* it may have been its own that moved */
    uint64_t room = room_to_grow(budget) * STORE_PAGE;
    if (fits < want && room < want - fits)
        want = fits + (size_t)room;
    if (want > 0)
        return want;
    if (budget_wait(supervisor)) {
        add_waiting(pipe);
        return 0;
    }
    store_stop_growing(&task->store, pipe->channel);
    return (size_t)bytes;
}
