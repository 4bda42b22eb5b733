/*
 * What one program is held to: rlimits and niceness, set by the child itself before it becomes its
 * user, and the bounds of its whole group (group_bounds.h). getrlimit(2), setpriority(2)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

struct bounds {
    uint32_t set; /* bits, 1 << enum link_limit */
    int64_t value[LINK_LIMIT_COUNT];
};

static inline bool bounds_has(const struct bounds *bounds, enum link_limit limit) {
    return (bounds->set & 1u << limit) != 0;
}

/* Whether each number is one that the contract has. */
bool bounds_valid(const struct bounds *bounds);
/* In the child: raw system calls only. 0, or -errno and which one in *ret_limit. */
int bounds_apply(const struct bounds *bounds, unsigned *ret_limit);
