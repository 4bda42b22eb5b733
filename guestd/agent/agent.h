/*
 * The agent: one libuv loop that speaks the protocol. Owns the link, the listeners, the connections and the job table.
 * It never spawns and never execs (its seccomp filter sees to it); what it needs done with privilege it asks over the link.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "link.h"
#include "proto/limits.h"

struct jobs;
struct link;

struct agent_stats {
    uint64_t frames_in, frames_out, queued_bytes, dropped_bytes;
    uint32_t connections;
};

struct agent {
    uv_loop_t loop;
    struct link_hello hello; /* what the supervisor told at the start: limits, token, boot id … */
    uint64_t limit[LIMIT_COUNT];
    struct link *link;
    struct jobs *jobs;
    struct agent_stats stats;
    bool stopping;          /* LINK_STOPPING came: new work is `busy` */
    double last_active_at;  /* unix seconds: exec, input and touching pings move it */
    int64_t started_ns;     /* CLOCK_BOOTTIME */
};

/* The agent's whole life on LINK_FD. Returns the process's exit code. */
int agent_main(void);

/* Moves last_active_at to now. */
void agent_touch(struct agent *agent);

/* unix seconds, as `*_at` fields tell them */
double agent_now(void);
