#include "agent/agent.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/conn.h"
#include "agent/job.h"
#include "agent/lag.h"
#include "agent/link.h"
#include "agent/listener.h"
#include "agent/log.h"
#include "agent/ready.h"
#include "agent/sweep.h"

enum { LINGER_NS = 50000 };
enum { LEAVE_MS = 250, LEAVE_LOOK_MS = 2 }; /* clients that take nothing are not waited for */
#define TELL_ACTIVE_S 0.5 /* so exactly does last_active_at survive an agent's death */

_Static_assert(LIMIT_COUNT <= LINK_LIMITS, "the limits travel in link_config");

double agent_now(void) {
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int64_t boottime_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void agent_touch(struct agent *agent) {
    agent->last_active_at = agent_now();
    if (agent->last_active_at - agent->told_active_at < TELL_ACTIVE_S &&
        agent->last_active_at >= agent->told_active_at)
        return;
    agent->told_active_at = agent->last_active_at;
    link_serving(agent); /* the supervisor remembers it for the next agent */
}

void agent_linger(struct agent *agent) {
    agent->linger_until_ns = uv_hrtime() + LINGER_NS;
    agent_flush_later(agent);
}

double agent_lag_ms(const struct agent *agent, double share) {
    return (double)lag_quantile(agent->lag, share) / 1000;
}

int agent_power(struct agent *agent, enum link_power_mode mode, uint32_t grace_ms,
                void (*done)(int err, void *arg), void *arg) {
    return link_power(agent->link, mode, grace_ms, done, arg);
}

int agent_upgrade(struct agent *agent, int executable, uint32_t flags,
                  void (*done)(int err, void *arg), void *arg) {
    return link_upgrade(agent->link, executable, flags, done, arg);
}

static void on_flush_later(uv_idle_t *idle) {
    struct agent *agent = idle->data;
    bool linger = uv_hrtime() < agent->linger_until_ns;

    if (!linger)
        uv_idle_stop(idle);
    conn_flush_again(agent); /* starts it again for those that still have more */
    if (linger && !agent->again)
        sched_yield();
}

void agent_flush_later(struct agent *agent) {
    uv_idle_start(&agent->flush_later, on_flush_later);
}

static void close_listeners(struct agent *agent) {
    for (unsigned i = 0; i < LINK_LISTENERS; i++) {
        listener_close(agent->listener[i]);
        agent->listener[i] = NULL;
    }
}

void agent_end(struct agent *agent, int code) {
    if (agent->ending)
        return;
    agent->ending = true;
    agent->exit_code = code;
    close_listeners(agent);
    ready_close(agent);
    while (agent->conns)
        conn_close(agent->conns);
    link_close(agent);
    lag_close(agent->lag);
    pool_close(&agent->pool);
    uv_close((uv_handle_t *)&agent->flush_later, NULL);
    uv_close((uv_handle_t *)&agent->leave, NULL);
}

static void on_leave(uv_timer_t *timer) {
    struct agent *agent = timer->data;
    bool waiting = false;

    for (struct conn *conn = agent->conns; conn; conn = conn->next)
        waiting = waiting || !conn_written(conn);
    if (!waiting || uv_now(&agent->loop) >= agent->leave_by_ms)
        agent_end(agent, 0);
}

void agent_leave(struct agent *agent) {
    if (agent->ending || agent->leave_by_ms)
        return;
    agent->leave_by_ms = uv_now(&agent->loop) + LEAVE_MS;
    close_listeners(agent);
    uv_timer_start(&agent->leave, on_leave, LEAVE_LOOK_MS, LEAVE_LOOK_MS);
    on_leave(&agent->leave);
}

/* What arrives by signal is the supervisor's business; a lost client must not kill the agent. */
static void set_signals(void) {
    sigset_t none;

    sigemptyset(&none);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN); /* a terminal's ^C reaches the supervisor, which ends the agent */
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void serve(struct agent *agent, const int *listeners) {
    bool first, owed;

    for (unsigned i = 0; i < agent->hello.listeners; i++)
        agent->listener[i] = listener_new(agent, listeners[i], &agent->hello.listener[i]);
    first = agent->hello.restarts == 0;
    owed = agent->hello.config.ready[0] && (first || agent->hello.unready);
    if (!owed || !first)
        link_serving(agent);
    if (owed && ready_start(agent, link_serving) < 0) {
        log_error("ready: %s can't be used", agent->hello.config.ready);
        link_serving(agent);
    }
    sweep_start(agent);
}

static int start(struct agent *agent, int (*confine)(void)) {
    static struct lag lag;
    int listeners[LINK_LISTENERS];
    int r;

    /* First what needs nothing of the hello: the supervisor is still busy with the job cgroups. */
    agent->started_ns = boottime_ns();
    r = confine();
    if (r < 0)
        return r;
    r = uv_loop_init(&agent->loop);
    if (r < 0)
        return r;
    r = link_receive_hello(agent, listeners);
    if (r < 0)
        return r;
    log_init((enum log_level)agent->hello.config.log_level);
    for (unsigned i = 0; i < LIMIT_COUNT; i++)
        agent->limit[i] = agent->hello.config.limit[i];
    if (agent->limit[LIMIT_processes] > agent->hello.max_jobs)
        agent->limit[LIMIT_processes] = agent->hello.max_jobs;
    agent->last_active_at = agent->hello.last_active_at;
    pool_init(agent);
    uv_idle_init(&agent->loop, &agent->flush_later);
    agent->flush_later.data = agent;
    uv_timer_init(&agent->loop, &agent->leave);
    agent->leave.data = agent;
    agent->lag = &lag;
    lag_init(agent->lag, &agent->loop);
    agent->jobs = jobs_new(agent);
    if (!agent->jobs)
        return UV_ENOMEM;
    /* Before the pool's first use, which reads it once; after the job table has taken what programs
     * inherit. */
    setenv("UV_THREADPOOL_SIZE", "16", 1);
    r = link_start(agent);
    if (r < 0)
        return r;
    serve(agent, listeners);
    return 0;
}

int agent_main(int (*confine)(void)) {
    static struct agent agent;
    int r;

    set_signals();
    r = start(&agent, confine);
    if (r < 0) {
        log_error("start: %s", strerror(-r));
        return r == -EPROTONOSUPPORT ? LINK_EXIT_VERSION : 1;
    }
    uv_run(&agent.loop, UV_RUN_DEFAULT);
    agent.jobs = jobs_free(agent.jobs);
    uv_run(&agent.loop, UV_RUN_DEFAULT); /* the job table's own timers */
    r = uv_loop_close(&agent.loop);
    assert(r == 0);
    return agent.exit_code;
}
