/* Blocking work for calls on libuv's pool, at most so many at once that a hung file system leaves
 * threads for the rest. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>

#include "agent/agent.h"
#include "agent/call_private.h"

static void start_next(struct agent *agent);

static void leave_call(struct work *work) {
    struct work **at = &work->call->works;

    while (*at != work)
        at = &(*at)->next_of_call;
    *at = work->next_of_call;
}

static void finish(struct work *work, int result) {
    struct call *call = work->call;

    leave_call(work);
    work->done(work, result); /* may free the work */
    call_unref(call);
}

static void on_pool(uv_work_t *request) {
    struct work *work = request->data;

    work->has_clock = pthread_getcpuclockid(pthread_self(), &work->clock) == 0;
    work->result = work->run(work);
}

static void enter_pool(struct agent *agent, struct work *work) {
    struct pool *pool = &agent->pool;

    work->has_clock = work->lost = false;
    work->used_ns = 0;
    work->since_ms = uv_now(&agent->loop);
    work->next = pool->working;
    work->at = NULL;
    pool->working = work;
    if (pool->n_working++ == 0)
        pool_watch_start(agent);
}

static void leave_pool(struct agent *agent, struct work *work) {
    struct pool *pool = &agent->pool;
    struct work **at = &pool->working;

    while (*at != work)
        at = &(*at)->next;
    *at = work->next;
    pool_watch_done(agent, work);
    if (--pool->n_working == 0)
        pool_watch_stop(agent);
}

static void on_worked(uv_work_t *request, int status) {
    struct work *work = request->data;
    struct agent *agent = call_agent(work->call);

    leave_pool(agent, work);
    finish(work, status < 0 ? status : work->result);
    start_next(agent);
}

static void enqueue(struct agent *agent, struct work *work) {
    work->next = NULL;
    work->at = agent->pool.waiting_last;
    *work->at = work;
    agent->pool.waiting_last = &work->next;
}

static void dequeue(struct agent *agent, struct work *work) {
    *work->at = work->next;
    if (work->next)
        work->next->at = work->at;
    else
        agent->pool.waiting_last = work->at;
    work->at = NULL;
}

static void start_next(struct agent *agent) {
    while (agent->pool.waiting && agent->pool.n_working < WORKING_MAX) {
        struct work *work = agent->pool.waiting;

        dequeue(agent, work);
        enter_pool(agent, work);
        work->request.data = work;
        uv_queue_work(&agent->loop, &work->request, on_pool,
                      on_worked); /* fails only without a callback */
    }
}

static void start(struct call *call, struct work *work, bool always, int (*run)(struct work *),
                  void (*done)(struct work *, int)) {
    struct agent *agent = call_agent(call);

    work->call = call_ref(call);
    work->run = run;
    work->done = done;
    work->cancelled = false;
    work->result = 0;
    work->always = always;
    work->next_of_call = call->works;
    call->works = work;
    enqueue(agent, work);
    start_next(agent);
}

void call_work_start(struct call *call, struct work *work, int (*run)(struct work *),
                     void (*done)(struct work *, int)) {
    start(call, work, false, run, done);
}

void call_work_always(struct call *call, struct work *work, int (*run)(struct work *),
                      void (*done)(struct work *, int)) {
    start(call, work, true, run, done);
}

void pool_init(struct agent *agent) {
    agent->pool.waiting_last = &agent->pool.waiting;
    uv_timer_init(&agent->loop, &agent->pool.watch);
    agent->pool.watch.data = agent;
    uv_unref((uv_handle_t *)&agent->pool.watch);
}

void pool_close(struct pool *pool) {
    uv_close((uv_handle_t *)&pool->watch, NULL);
}

void work_cancel_all(struct call *call) {
    for (struct work *work = call->works; work; work = work->next_of_call)
        work->cancelled = true;
}

/* One at a time from the start: `done` may start another. */
void work_drop_waiting(struct call *call) {
    struct work *work = call->works;

    while (work) {
        if (work->at && work->cancelled && !work->always) {
            dequeue(call_agent(call), work);
            finish(work, -ECANCELED);
            work = call->works;
        } else {
            work = work->next_of_call;
        }
    }
}
