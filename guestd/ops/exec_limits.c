#include "ops/exec_limits.h"

#include <errno.h>

#include "agent/call.h"

#define INT_MOST INT64_MAX
#define PIDS_MOST (4 << 20) /* what the kernel can number */
#define PAGE 4096
#define CPU_LEAST 0.01 /* the kernel shares out no less of a CPU than a millisecond in 100 */
#define CPU_MOST 65536
#define CPU_MILLIONTHS 1000000

/* In the order of enum link_limit. */
const struct field exec_limits_fields[] = {
    FIELD(exec_limits, nofile, INT, .min = 0, .max = INT_MOST),
    FIELD(exec_limits, nproc, INT, .min = 0, .max = INT_MOST),
    FIELD(exec_limits, core, INT, .min = 0, .max = INT_MOST),
    FIELD(exec_limits, fsize, INT, .min = 0, .max = INT_MOST),
    FIELD(exec_limits, cpu_seconds, INT, .min = 1, .max = INT_MOST),
    FIELD(exec_limits, nice, INT, .min = -20, .max = 19),
    FIELD(exec_limits, memory_max, INT, .min = PAGE, .max = INT_MOST),
    FIELD(exec_limits, pids_max, INT, .min = 1, .max = PIDS_MOST),
    FIELD(exec_limits, cpu_max, NUMBER, .max = CPU_MOST),
    FIELDS_END,
};
_Static_assert(sizeof(exec_limits_fields) / sizeof(*exec_limits_fields) == LINK_LIMIT_COUNT + 1,
               "a row a limit");

static bool given(const struct exec_limits *limits, enum link_limit limit) {
    return limits->present & UINT64_C(1) << limit;
}

/* Bits of `controllers`; 0: none is needed. */
static uint32_t controller_of(enum link_limit limit) {
    switch (limit) {
    case LINK_LIMIT_MEMORY_MAX:
        return LINK_CONTROLLER_MEMORY;
    case LINK_LIMIT_PIDS_MAX:
        return LINK_CONTROLLER_PIDS;
    case LINK_LIMIT_CPU_MAX:
        return LINK_CONTROLLER_CPU;
    default:
        return 0;
    }
}

static int check(const struct exec_limits *limits, uint32_t controllers, struct failure *failure) {
    for (unsigned i = 0; i < LINK_LIMIT_COUNT; i++) {
        uint32_t needed = controller_of((enum link_limit)i);

        if (given(limits, (enum link_limit)i) && (controllers & needed) != needed)
            return failure_set(failure, STATUS_UNSUPPORTED, 0, job_limit_field((enum link_limit)i),
                               "no group of this machine has the controller for it");
    }
    if (given(limits, LINK_LIMIT_CPU_MAX) && limits->cpu_max < CPU_LEAST)
        return failure_set(failure, STATUS_INVALID_REQUEST, 0, "limits.cpu_max",
                           "limits.cpu_max: is at least %.2f CPUs", CPU_LEAST);
    return 0;
}

int exec_limits_order(const struct exec_limits *limits, uint32_t controllers,
                      struct job_order *order, struct failure *ret_failure) {
    int r = check(limits, controllers, ret_failure);

    order->limits = (uint32_t)limits->present;
    order->limit[LINK_LIMIT_NOFILE] = limits->nofile;
    order->limit[LINK_LIMIT_NPROC] = limits->nproc;
    order->limit[LINK_LIMIT_CORE] = limits->core;
    order->limit[LINK_LIMIT_FSIZE] = limits->fsize;
    order->limit[LINK_LIMIT_CPU_SECONDS] = limits->cpu_seconds;
    order->limit[LINK_LIMIT_NICE] = limits->nice;
    order->limit[LINK_LIMIT_MEMORY_MAX] = limits->memory_max;
    order->limit[LINK_LIMIT_PIDS_MAX] = limits->pids_max;
    order->limit[LINK_LIMIT_CPU_MAX] = (int64_t)(limits->cpu_max * CPU_MILLIONTHS);
    return r;
}
