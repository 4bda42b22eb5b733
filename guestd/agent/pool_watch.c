#include <assert.h>
#include <time.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/call_private.h"
#include "agent/log.h"

enum {
    LOOKS = 4, /* in stall_s */
    EXIT_THREADS_LOST = 3,
};

/* A thread that waits for a disk still uses some, each time that the disk answers. */
static int64_t used_ns(const struct work *work) {
    struct timespec used;

    if (!work->has_clock || clock_gettime(work->clock, &used) < 0)
        return 0;
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

static uint64_t stall_ms(const struct agent *agent) {
    return agent->limit[LIMIT_stall_s] * 1000;
}

/* The restart loses connections, never a job; and no thread can be had back by waiting. */
static void restart(const struct agent *agent) {
    log_error("%u threads hang in file systems that don't answer: starting anew",
              (unsigned)agent->pool.n_lost);
    _exit(EXIT_THREADS_LOST);
}

static void lose(struct agent *agent, struct work *work) {
    work->lost = true;
    agent->pool.n_lost++;
    log_error("%s: its thread has hung for %llu s", call_op(work->call)->name,
              (unsigned long long)agent->limit[LIMIT_stall_s]);
    if (agent->pool.n_lost == WORKING_MAX)
        restart(agent);
    call_give_up(work->call, STATUS_TIMEOUT, "the file system does not answer");
}

static void look(struct agent *agent, struct work *work) {
    uint64_t now = uv_now(&agent->loop);
    int64_t used = used_ns(work);

    if (used != work->used_ns) {
        work->used_ns = used;
        work->since_ms = now;
    } else if (!work->lost && now - work->since_ms >= stall_ms(agent)) {
        lose(agent, work);
    }
}

static void on_watch(uv_timer_t *timer) {
    struct agent *agent = timer->data;

    /* Answering starts nothing and ends no work: the list stays. */
    for (struct work *work = agent->pool.working; work; work = work->next)
        look(agent, work);
}

void pool_watch_start(struct agent *agent) {
    if (!uv_is_active((uv_handle_t *)&agent->pool.watch))
        uv_timer_start(&agent->pool.watch, on_watch, stall_ms(agent) / LOOKS,
                       stall_ms(agent) / LOOKS);
}

void pool_watch_stop(struct agent *agent) {
    uv_timer_stop(&agent->pool.watch);
}

void pool_watch_done(struct agent *agent, struct work *work) {
    assert(!work->lost || agent->pool.n_lost > 0);
    agent->pool.n_lost -= work->lost;
}
