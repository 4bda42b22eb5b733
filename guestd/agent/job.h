/*
 * The job table: what guestd started, found by pid, tag or job id. A job is finished by three facts in any order: exited,
 * stdout done, stderr done; the supervisor tells `exited` when the answer is due.
 *
 * Written by the job room's owner; operations go through these functions.
 */
#pragma once

struct agent;
struct jobs;

/* Empty table; NULL without memory. */
struct jobs *jobs_new(struct agent *agent);
/* Unmaps and forgets all; the processes live on. Takes NULL. */
struct jobs *jobs_free(struct jobs *jobs);
