/*
 * A crew: up to `most` threads for work that may hang (an exec, a walk through /proc), so that the
 * main loop never does. The loop owns the queue and hands each chore to an idle thread; threads are
 * made when needed and end after 10 s idle.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/loop.h"

struct crew;
struct worker;

/* Lives in its owner, who must not free it between crew_submit and `done`. */
struct chore {
    void (*run)(struct chore *chore);  /* on a thread of the crew */
    void (*done)(struct chore *chore); /* on the loop */
    int64_t started_ns;                /* when a thread got it; 0: still queued */
    struct worker *worker;
    struct chore *next;
};

struct crew {
    struct loop *loop;
    unsigned most, threads;
    struct worker *idle, *busy;
    struct chore *first, **last; /* queued */
    _Atomic(struct chore *) finished;
    struct source wake; /* eventfd: `finished` has something */
    struct deadline dismiss;
};

/* 0 or -errno. */
int crew_init(struct crew *crew, struct loop *loop, unsigned most);
/* Ends idle threads. Who hangs is left to hang. */
void crew_deinit(struct crew *crew);
/* Queues at worst; 0, or -EAGAIN when there is no thread at all and none can be made (the chore
 * isn't taken). */
int crew_submit(struct crew *crew, struct chore *chore);
/* The oldest chore that no thread has taken; it is the caller's again. NULL: none. */
struct chore *crew_take_back(struct crew *crew);
/* When every thread that may exist will have been at its chore for `span_ns`; INT64_MAX: a thread
 * is idle, or more may be made. */
int64_t crew_stuck_at(const struct crew *crew, int64_t span_ns);
/* Whether this is true of any chore that a thread has. */
bool crew_any(const struct crew *crew, bool (*is)(const struct chore *chore));
/* No thread has a chore, and none waits. */
bool crew_is_quiet(const struct crew *crew);
/* When the chore began that has been under way for longest; INT64_MAX: none is. */
int64_t crew_oldest(const struct crew *crew);
