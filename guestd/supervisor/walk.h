/*
 * The tree of a job where there is no cgroup: its session, its descendants, and orphans that carry
 * its mark in their environ, found by a walk through /proc on a thread of its own, since /proc of a
 * large machine takes milliseconds.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/crew.h"
#include "supervisor/pids.h"

struct walk {
    struct chore chore;
    /* the question */
    int proc;   /* directory fd of /proc */
    pid_t self; /* whose children orphans become */
    pid_t leader;
    bool leader_gone; /* reaped: its number may be another's by now */
    int signal;       /* 0: only look. SIGKILL: again and again until nothing is left */
    char mark[64];    /* GUESTD_JOB=… */
    /* the answer; neither counts the leader */
    struct pids hit; /* added to */
    struct pids alive;
};

/* On the thread. */
void walk_run(struct chore *chore);
