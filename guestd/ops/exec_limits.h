/* What `limits` of exec holds a program to: its own rlimits, and its group's. PROTOCOL.md, "exec".
 */
#pragma once

#include "agent/job.h"

struct exec_limits {
    uint64_t present; /* bit i: enum link_limit i, for the table has its order */
    int64_t nofile, nproc, core, fsize, cpu_seconds, nice, memory_max, pids_max;
    double cpu_max;
};

extern const struct field exec_limits_fields[];

/* Fills the order's limits. Returns 0, or a positive enum status with *ret_failure filled:
 * `unsupported` for one that no group of this machine can hold (`controllers` as link_hello tells
 * them). */
int exec_limits_order(const struct exec_limits *limits, uint32_t controllers,
                      struct job_order *order, struct failure *ret_failure);
