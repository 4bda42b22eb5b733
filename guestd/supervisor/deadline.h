/*
 * Deadlines: a heap of nodes that live in their owners, so that arming one can never fail.
 *
 * Times are CLOCK_MONOTONIC nanoseconds. A machine that stood still (a paused VM) must not make
 * everything time out at once: deadlines_shift moves all of them, in O(1), by remembering the shift
 * instead of walking the heap.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/heap.h"

struct deadline {
    void (*fire)(struct deadline *deadline);
    bool armed;
    struct heap_node node; /* its key: due minus the shift at the time of arming */
};

struct deadlines {
    struct heap heap;
    int64_t shift;
};

/* CLOCK_MONOTONIC in nanoseconds. */
int64_t clock_now(void);

#define MS_NS INT64_C(1000000)
#define SECOND_NS INT64_C(1000000000)

/* (Re)arms: fires once at `due`. */
void deadline_arm(struct deadlines *all, struct deadline *deadline, int64_t due);
/* Takes one that isn't armed too. */
void deadline_cancel(struct deadlines *all, struct deadline *deadline);
/* When an armed one is due. */
int64_t deadline_due(const struct deadlines *all, const struct deadline *deadline);

/* When the earliest is due; INT64_MAX: none armed. */
int64_t deadlines_next(const struct deadlines *all);
/* Fires, one after the other, what is due at `now`; a callback may arm and cancel. */
void deadlines_fire(struct deadlines *all, int64_t now);
void deadlines_shift(struct deadlines *all, int64_t by);
