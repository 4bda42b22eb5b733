/*
 * The bounds of a job's whole group: memory.max, pids.max, cpu.max, cpu.weight.nice. A group that
 * has any is made for its job and removed behind it: one that was used before would still be
 * charged for the files that an earlier job left in memory. Documentation/admin-guide/cgroup-v2.rst
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "supervisor/bounds.h"

/* Whether the job must have a group of its own for them; `controllers` as link_hello tells them. */
bool group_bounds_needed(const struct bounds *bounds, uint32_t controllers);
/* The first of those that nothing but a group can hold; LINK_LIMIT_COUNT: none. */
unsigned group_bounds_first(const struct bounds *bounds);
/* Before anybody lives in the group (a directory fd). 0, or -errno and which one in *ret_limit. */
int group_bounds_write(int group, const struct bounds *bounds, uint32_t controllers,
                       unsigned *ret_limit);
