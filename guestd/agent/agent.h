/*
 * The agent: one libuv loop that speaks the protocol. Owns the link, the listeners, the connections
 * and the job table. It never spawns and never execs (its seccomp filter sees to it); what it needs
 * done with privilege it asks over the link.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/pool.h"
#include "link.h"
#include "proto/limits.h"

struct conn;
struct jobs;
struct lag;
struct link;
struct listener;
struct ready;

struct agent_stats {
    uint64_t frames_in, frames_out;
    uint64_t data_bytes;        /* of streams, sent */
    uint64_t dropped_bytes;     /* told by stream.gap */
    uint64_t queued_bytes;      /* now, for all connections */
    uint64_t processes_started; /* by this agent */
    uint32_t connections;       /* authenticated, now */
};

/* The processors' times at the last `metrics`, and what it told of them. */
struct agent_cpu {
    uint64_t busy_ms, total_ms;
    double used_pct;
};

struct agent {
    uv_loop_t loop;
    struct link_hello hello; /* what the supervisor told at the start: limits, token, boot id … */
    uint64_t limit[LIMIT_COUNT];
    struct link *link;
    struct jobs *jobs;
    struct agent_stats stats;
    struct agent_cpu cpu;
    struct lag *lag;

    struct listener *listener[LINK_LISTENERS];
    struct conn *conns; /* all that are not closing */
    uint32_t unauthenticated, draining;
    struct conn *again; /* used up their turn, go on from the idle handle */
    uv_idle_t flush_later;
    uv_timer_t leave;
    uint64_t linger_until_ns;
    struct pool pool;
    uint64_t held; /* bytes of large requests in flight */
    struct ready *ready;
    bool ready_answered;

    bool ending;
    int exit_code;
    uint64_t leave_by_ms;  /* 0: it stays */
    bool stopping;         /* LINK_STOPPING came: new work is `busy` */
    double told_active_at; /* to the supervisor */
    double last_active_at; /* unix seconds: exec, input and touching pings move it */
    int64_t started_ns;    /* CLOCK_BOOTTIME */
};

/*
 * The agent's whole life on LINK_FD. `confine` is called once, before the supervisor's hello and
 * the first thread: it drops privileges and loads the filter; the agent doesn't start when it
 * returns a negative errno.
 *
 * Returns the process's exit code: 0 after an orderly end.
 */
int agent_main(int (*confine)(void));

/* Ends the loop: handles are closed by their owners, then agent_main returns `code`. */
void agent_end(struct agent *agent, int code);

/* The same as an orderly end, when what is answered already has been written, or after a moment. */
void agent_leave(struct agent *agent);

/* Has conn_flush_again called in the loop's next round. */
void agent_flush_later(struct agent *agent);

/* Bulk data moved: the loop stays awake for a moment. In a virtual machine, going to sleep and
 * being woken cost more than sending the next chunk does; whoever else is ready runs meanwhile. */
void agent_linger(struct agent *agent);

/* Moves last_active_at to now. */
void agent_touch(struct agent *agent);

/* The bound in ms under which that share (0 … 1) of the loop's rounds stayed. */
double agent_lag_ms(const struct agent *agent, double share);

/* Asks the supervisor to end it all: `done` gets a positive errno, or 0 before anything stops.
 * Returns 0 or -errno. */
int agent_power(struct agent *agent, enum link_power_mode mode, uint32_t grace_ms,
                void (*done)(int err, void *arg), void *arg);

/* Asks it to start the next agent from that file, which it consumes: `done` as above, but 0 comes
 * before this agent ends. `flags`: enum link_upgrade_flags. */
int agent_upgrade(struct agent *agent, int executable, uint32_t flags,
                  void (*done)(int err, void *arg), void *arg);

/* unix seconds, as `*_at` fields tell them */
double agent_now(void);
