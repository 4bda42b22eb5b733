/* The supervisor's whole state: one struct, made of its rooms' structs. */
#pragma once

#include "supervisor/admission.h"
#include "supervisor/birth.h"
#include "supervisor/budget.h"
#include "supervisor/crew.h"
#include "supervisor/group.h"
#include "supervisor/keeper.h"
#include "supervisor/loop.h"
#include "supervisor/notify.h"
#include "supervisor/power.h"
#include "supervisor/supervisor.h"
#include "supervisor/task.h"
#include "supervisor/tree.h"
#include "supervisor/upgrade.h"

/* A job's pidfd, two pipes (or a terminal's master, twice), store. An open stdin's pipe comes on
 * top.
 */
#define FDS_A_JOB 4

struct supervisor {
    const struct supervisor_options *options;
    struct loop loop;
    struct source signals;
    struct deadline reap_more; /* at once: a turn's share of the dead was not all of them */
    struct nursery nursery;
    struct groups groups;
    struct tasks tasks;
    struct budget budget;
    struct admission admission;
    struct input_budget inputs;
    struct crew spawners;        /* 16: any of them may hang in an exec */
    struct crew walkers;         /* 1 */
    struct deadline spawn_stuck; /* all 16 do */
    struct keeper keeper;
    struct power power;
    struct notify notify;
    struct upgrade upgrade;

    bool is_init; /* the machine's init */
    bool cgroups;
    bool unsettled, unmade, foreseen; /* settle.h */
    pid_t pid;
    int children; /* /proc/self/task/PID/children, or -1 */
    struct orphans orphans;
    uint64_t job_nonce;
    uint64_t max_jobs;
    uint64_t job_fds; /* for the running jobs, FDS_A_JOB each, and their open stdins */
    int64_t started_boot_ns;
    double last_active_at;
    uint64_t reaped_orphans, processes_started;
    uint32_t reexecs;
    struct task *program; /* the PROGRAM of the command line, or NULL */
};
