/*
 * A task is a job as the supervisor holds it: process, pipes, store, deadline, group. The table of
 * tasks is the truth that a new agent is given; what the agent still has to be told stands in the
 * task itself (`owed`), so that a full link costs no memory and loses nothing.
 *
 * A task is answered by facts that come in any order: reaped, stdout done, stderr done, the tree
 * dead where guestd kills it. task_settle is the one function that asks.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"
#include "supervisor/birth.h"
#include "supervisor/budget.h"
#include "supervisor/crew.h"
#include "supervisor/group.h"
#include "supervisor/input.h"
#include "supervisor/loop.h"
#include "supervisor/pids.h"
#include "supervisor/walk.h"

struct supervisor;

enum task_state {
    TASK_STARTING, /* a spawn thread has it, or it is queued for one */
    TASK_RUNNING,
    TASK_REAPED, /* the leader is gone; something is still waited for */
    TASK_ANSWERED,
    TASK_FORGOTTEN, /* answered, and nobody will ask again; only who holds its pipes keeps it */
};

/* What the agent hasn't been told yet, in the order of telling. */
enum task_owed {
    OWED_JOB = 1 << 0,
    OWED_SPAWNED = 1 << 1,
    OWED_STORE = 1 << 2,
    OWED_TAKEN = 1 << 3,
    OWED_OUTPUT = 1 << 4,
    OWED_EXITED = 1 << 5,
};

struct task_pipe {
    struct source source;
    struct task *task;
    unsigned channel;
    bool paused;        /* a full BLOCK ring: not polled until it is acknowledged */
    bool unused;        /* a terminal that nobody has open now: its edges are polled */
    uint64_t must_read; /* bytes that were in it at the exit; at most, of a terminal */
    bool waits;         /* paused, in budget.waiting */
    struct task_pipe *next_waiting;
};

/* Somebody waits for the leader to be reaped: LINK_DONE then. */
struct waiter {
    uint64_t request;
    int err; /* positive errno or 0: what LINK_DONE says */
    struct waiter *next;
};

struct task {
    struct supervisor *supervisor;
    struct task *next_by_job, *next_by_pid; /* the tables' chains */
    struct task *older, *newer;             /* all tasks, in the order of birth */
    struct task *next_owing;
    bool owing;  /* on the list of those with `owed` */
    bool failed; /* it did not start: freed once the agent was told and the child, if any, is reaped
                  */
    enum task_state state;
    unsigned owed;
    uint64_t generation; /* of the agent that asked for it, or was told that it starts */
    bool inherited;      /* these are not the same */

    uint64_t job;
    uint32_t flags;
    uint32_t grace_ms;
    uint64_t timeout_ms;
    pid_t pid;
    int pidfd;
    struct chore birth_chore;
    struct birth *birth;        /* while TASK_STARTING */
    struct task *next_admitted; /* in admission */
    struct deadline hung;       /* the start takes too long */
    bool reaped_early;          /* it ended before its start was reported: these two hold */
    int early_status;
    struct rusage early_usage;

    int spawn_err;
    uint32_t spawn_stage;
    double started_at;
    int64_t started_ns, reaped_ns;

    struct store store; /* fd -1, and it is answered: the record is left to the agent alone */
    struct share share;
    int64_t orphaned_ns; /* its opener's agent died then, and nobody came back; 0: no */
    struct task_pipe pipe[2];
    struct input input;
    bool armed; /* LINK_LOOK: ring when `seen` is passed */
    bool eof_seen[2];
    uint64_t seen[2];

    struct group *group;
    struct deadline timeout; /* the job's own; then its grace */
    int64_t sweep_ns;
    struct deadline
        sweep; /* looks until the tree is dead, once guestd ends it and the leader is gone */
    struct deadline settle;  /* 200 ms after the exit */
    bool waited_out;         /* they are over */
    enum link_reason ending; /* why guestd ends it; LINK_REASON_EXITED: it doesn't */
    bool killing;            /* SIGKILL went to the tree */
    int64_t killing_ns;
    uint64_t signals; /* bits: LINK_SIGNAL sent these */
    struct waiter *waiters;

    struct pids hit;        /* descendants that got a signal of ours */
    struct pids alive;      /* descendants, at the last look */
    bool looked;            /* `alive` is of now */
    struct tree_walk *walk; /* under way */
    int walk_next;          /* what the next one is for: a signal, WALK_LOOK or WALK_NONE */

    struct link_result result;
};

#define TASK_BUCKETS 512

struct tasks {
    struct task *by_job[TASK_BUCKETS], *by_pid[TASK_BUCKETS];
    struct task *oldest, *newest;
    struct task *owing, **last_owing;
    unsigned running;         /* not answered */
    unsigned answered;        /* kept until LINK_FORGET … */
    unsigned held;            /* pipes of jobs that are over, and somebody has open */
    unsigned stores;          /* of the answered, those that hold an fd … */
    unsigned stores_most;     /* … of which there are no more */
    struct deadline adoption; /* of the first that is orphaned */
};

void tasks_init(struct tasks *tasks);
struct task *task_find(struct tasks *tasks, uint64_t job);
struct task *task_find_pid(struct tasks *tasks, pid_t pid);

/* In the table, TASK_STARTING. NULL: no memory. */
struct task *task_new(struct supervisor *supervisor, uint64_t job);
/* Out of the table; closes what it holds. The program, if it lives, lives on. */
void task_free(struct task *task);
/* A failed one's agent knows now. May free it. */
void task_failure_told(struct task *task);
/* The agent that asked for it is gone: nobody waits for its death. Its output is waited for, for a
 * while, if it was streamed: who read it may come back through the next agent. */
void task_orphan(struct task *task);
/* Who read it is back (LINK_ADOPT). */
void task_adopt(struct task *task);
/* Nobody acknowledges its output any more: BLOCK becomes DROP. */
void task_let_go(struct task *task);
/* An answered one: the agent alone knows it now. */
void task_close_store(struct task *task);
/* An answered one: no agent will know it. Frees it, or does so once nobody holds its pipes: who
 * outlives a job is not to be hit by SIGPIPE because its record went. */
void task_forget(struct task *task);
/* Answered, or even forgotten. */
bool task_is_over(const struct task *task);
/* The agent is to be told. */
void task_owe(struct task *task, enum task_owed what);
/* It needn't be told of the job at all; true: it hasn't been yet. */
bool task_disown(struct task *task);

/* task->pid is known: it can be found by it, until it is reaped. */
void task_set_pid(struct task *task);
/* The program runs: takes over from the birth. */
void task_started(struct task *task, const struct birth *birth);
/* It is gone: wait_status and usage as wait4(2) gave them. */
void task_reaped(struct task *task, int wait_status, const struct rusage *usage);
/* Answers if nothing is waited for any more; a forgotten one is freed then. */
void task_settle(struct task *task);
