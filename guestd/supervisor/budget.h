/*
 * The memory that all stores hold together, and who gives way where it ends (`output_total`,
 * PROTOCOL.md, "Limits"). Counted in pages as the kernel does: each store's head, facts, and what
 * its rings hold; of a running job also the first page of each ring, so that none is without.
 *
 * Near the bound the oldest exited jobs lose their output whole, then the largest ring that drops
 * moves to half its size. A store that has moved still costs its memory until the agent lets go of
 * it (LINK_STORED) or dies; a pipe that can't be read before waits that long. Where nothing is left
 * to give way, rings stay as large as they are: a capture stops keeping, a BLOCK pipe waits for
 * its reader.
 *
 * It needs no agent, and believes it nothing: one that never lets go only harms itself.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/deadline.h"
#include "supervisor/heap.h"

struct supervisor;
struct task;
struct task_pipe;

struct budget {
    uint64_t most;                       /* pages; 0: no bound */
    uint64_t held;                       /* of all stores, those that are about to go too … */
    uint64_t leaving;                    /* … which are so many */
    struct heap largest;                 /* tasks whose store can move, by their pages, negative */
    struct task *exited, *newest_exited; /* those that hold output, in the order of their exits */
    struct task_pipe *waiting, **last_waiting;
    struct deadline patience; /* of those that wait */
    bool impatient;           /* it is over: nobody waits before the agent lets go of something */
};

/* A task's part of it. */
struct share {
    uint64_t held, leaving; /* pages */
    struct heap_node size;
    struct task *older, *newer; /* in budget.exited */
    bool listed;
};

/* `bytes`: output_total; 0: no bound. */
void budget_init(struct supervisor *supervisor, uint64_t bytes);
/* How many jobs may run, for the pages that each has for its own. */
uint64_t budget_max_jobs(const struct supervisor *supervisor);
/* Room for one more job, which is its own then. False: there is none, or not yet. */
bool budget_admit(struct task *task);
/* Something is on its way: who waits is woken when it is there, or when the agent has let go of
 * nothing for a second. False: nothing is. */
bool budget_wait(struct supervisor *supervisor);
/* Nobody is woken any more when nobody waits. */
void budget_calm(struct supervisor *supervisor);
/* Its store has changed, in size or kind, or it is over and its output may go. */
void budget_count(struct task *task);
/* It goes, and its store was closed. */
void budget_leave(struct task *task);

/*
 * How much may be read from the pipe now, at most `want` bytes; others give way for it, as much as
 * one turn allows. 0: room is on its way, drain_resume is called when it is there. May make the
 * ring stay as it is.
 */
size_t budget_room(struct task_pipe *pipe, size_t want);
/* The pipe doesn't wait any more. */
void budget_forget_pipe(struct task_pipe *pipe);

/* LINK_STORED: the agent has let go of the task's old store. */
void budget_let_go(struct task *task);
/* The agent is dead, and with it its mappings. */
void budget_agent_gone(struct supervisor *supervisor);
