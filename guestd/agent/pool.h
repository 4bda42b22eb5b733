/*
 * The agent's share of libuv's thread pool: what runs there for calls, what waits for a thread, and
 * which threads hang. Owned by the agent; on the loop's thread only.
 */
#pragma once

#include <uv.h>

struct agent;
struct work;

enum { WORKING_MAX = 12 }; /* of 16 threads */

struct pool {
    struct work *waiting, **waiting_last;
    struct work *working;
    uint32_t n_working;
    uint32_t n_lost; /* of them: without progress for too long */
    uv_timer_t watch;
};

void pool_init(struct agent *agent);
void pool_close(struct pool *pool);

/*
 * pool_watch.c: a thread that used no processor time for `stall_s` hangs in the kernel, in a file
 * system that doesn't answer. Its call is answered `timeout`; when all that the pool may use hang,
 * the agent ends at once and a new one, with fresh threads, takes the jobs over.
 */
void pool_watch_start(struct agent *agent); /* there is work */
void pool_watch_stop(struct agent *agent);  /* there is none any more */
/* It came back, after all. */
void pool_watch_done(struct agent *agent, struct work *work);
