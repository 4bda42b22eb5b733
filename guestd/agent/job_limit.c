/* What the limits of exec are called in an error. */
#include "agent/job.h"

const char *job_limit_field(enum link_limit limit) {
    static const char *const fields[LINK_LIMIT_COUNT] = {
        [LINK_LIMIT_NOFILE] = "limits.nofile",
        [LINK_LIMIT_NPROC] = "limits.nproc",
        [LINK_LIMIT_CORE] = "limits.core",
        [LINK_LIMIT_FSIZE] = "limits.fsize",
        [LINK_LIMIT_CPU_SECONDS] = "limits.cpu_seconds",
        [LINK_LIMIT_NICE] = "limits.nice",
        [LINK_LIMIT_MEMORY_MAX] = "limits.memory_max",
        [LINK_LIMIT_PIDS_MAX] = "limits.pids_max",
        [LINK_LIMIT_CPU_MAX] = "limits.cpu_max",
    };

    return fields[limit];
}
