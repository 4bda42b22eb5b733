/*
 * What one program is held to: rlimits and niceness, set by the child itself before it becomes its
 * user, and the bounds of its whole group (group_limits.h). getrlimit(2), setpriority(2)
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

struct limits {
    uint32_t set; /* bits, 1 << enum link_limit */
    int64_t value[LINK_LIMIT_COUNT];
};

static inline bool limits_has(const struct limits *limits, enum link_limit limit) {
    return (limits->set & 1u << limit) != 0;
}

/* Whether each number is one that the contract has. */
bool limits_valid(const struct limits *limits);
/* In the child: raw system calls only. 0, or -errno and which one in *ret_limit. */
int limits_apply(const struct limits *limits, unsigned *ret_limit);
