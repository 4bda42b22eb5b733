/* What the job room's own files and the link know of a job; operations see job.h only. */
#pragma once

#include <uv.h>
#include <uv/tree.h>

#include "agent/bell.h"
#include "agent/facts.h"
#include "agent/job.h"
#include "agent/job_input.h"
#include "agent/view.h"

#define JOBS_FORGET_BATCH 16

enum job_state {
    JOB_STARTING,
    JOB_RUNNING,
    JOB_EXITED,
};

struct job {
    RB_ENTRY(job) by_id;
    RB_ENTRY(job) by_tag;
    RB_ENTRY(job) by_pid; /* once it has started */
    RB_ENTRY(job) by_key; /* while it is keyed */
    struct jobs *jobs;
    uint32_t refs; /* the table's, and one a watch */
    bool listed;   /* is in the table */
    bool keyed;    /* its key stands for it */
    enum job_state state;
    uint64_t id;
    int32_t pid;
    bool unmapped;    /* there was no memory to map its store: its output can't be read here */
    bool gapped;      /* its opener was told of a gap */
    bool cancelled;   /* LINK_CANCEL went out, or goes as soon as it has started */
    uint32_t callers; /* foreground execs that wait for its end */
    bool detached;    /* its store overwrites: nothing waits for its opener, or no more */
    bool taken_over;  /* an earlier agent started it */
    double started_at;
    struct facts *facts;
    struct view view;
    uint64_t end[2]; /* bytes of output, once the view is gone */
    struct link_result result;
    struct job_watch *watches, *next_told;
    struct outlet *outlets; /* who reads it, in the order of coming */
    struct outlet *opener;  /* whom it waits for while it isn't detached; NULL: nobody now */
    struct bell bell;
    struct job_input input;

    /* exited ones, the oldest first */
    struct job *older, *newer;
    uint64_t exited_ms; /* loop time */
};

RB_HEAD(jobs_by_id, job);
RB_HEAD(jobs_by_tag, job);
RB_HEAD(jobs_by_pid, job);
RB_HEAD(jobs_by_key, job);

struct jobs {
    struct agent *agent;
    struct jobs_by_id ids;
    struct jobs_by_tag tags;
    struct jobs_by_pid pids;
    struct jobs_by_key keys;
    uint32_t living;    /* starting and running */
    uint32_t inherited; /* of these, starts that an agent before this one ordered */
    uint32_t exited;
    struct job *oldest, *newest;
    uv_timer_t expiry; /* runs only while exited ones are remembered */
    uint64_t forget[JOBS_FORGET_BATCH];
    uint32_t n_forget;
    struct job *feeding, **last_feeding; /* their input waits for the link */
    uv_timer_t feed_again;               /* or for the supervisor's memory */
    uint64_t unread;                     /* bytes of input that programs haven't taken */
    uint32_t counter;
    const char **environ;         /* guestd's own, without what is its own business */
    msgpack_sbuffer facts, spawn; /* empty between two starts, their memory kept */
};

/* job.c: the table */
struct job *job_new(struct jobs *jobs, uint64_t id, struct facts *facts);
struct job *job_ref(struct job *job);
void job_unref(struct job *job);
void job_started(struct job *job, int32_t pid, double at);
/* Its output can't be read any more; how much it was is remembered. */
void job_close_view(struct job *job);
/* Out of the table; what still refers to it keeps it. */
void job_unlist(struct job *job);
struct job *jobs_by_id_find(struct jobs *jobs, uint64_t id);
struct job *jobs_by_pid_find(struct jobs *jobs, int32_t pid);
struct job *jobs_by_tag_find(struct jobs *jobs, const char *tag);
/* Also one that is only starting. */
bool jobs_tag_taken(struct jobs *jobs, const char *tag);

/* job_retain.c: how long exited ones are remembered */
void jobs_retain(struct job *job);
void jobs_retain_init(struct jobs *jobs);
/* Tells the supervisor what was forgotten: before a spawn, so that it needs no wake-up of its own.
 */
void jobs_forget_flush(struct jobs *jobs);

/* job_event.c: what the link tells. Consume the fd (-1: none). Return 0 or a negative errno that
 * means a broken supervisor. */
int jobs_on_spawned(struct jobs *jobs, const struct link_spawned *message, int fd);
int jobs_on_job(struct jobs *jobs, const struct link_job *message, int fd);
/* The agent ends before it is told what became of a start: who waits for that lets go. */
void job_abandon(struct job *job);
void jobs_on_exited(struct jobs *jobs, const struct link_exited *message);
void jobs_on_output(struct jobs *jobs, uint64_t id);
/* Its store is another memfd from now on, a smaller one with the same offsets. */
int jobs_on_store(struct jobs *jobs, uint64_t id, int fd);
