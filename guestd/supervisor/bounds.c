#include "supervisor/bounds.h"

#include <errno.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ALL ((1u << LINK_LIMIT_COUNT) - 1)

/* As prlimit64(2) has it, whatever the C library's own rlim_t is. */
struct rlimit64_raw {
    uint64_t soft, hard;
};

bool bounds_valid(const struct bounds *bounds) {
    if ((bounds->set & ~ALL) != 0)
        return false;
    for (unsigned i = 0; i < LINK_LIMIT_COUNT; i++) {
        if (!bounds_has(bounds, i))
            continue;
        int64_t value = bounds->value[i];
        if (i == LINK_LIMIT_NICE ? value < -20 || value > 19 : value < 0)
            return false;
    }
    return true;
}

static int set(int resource, const struct rlimit64_raw *limit) {
    return syscall(SYS_prlimit64, 0, resource, limit, NULL) < 0 ? -errno : 0;
}

/*
 * The kernel kills at the hard limit and warns, by SIGXCPU, at the soft one: a second lies between
 * them where a program that has no right to more leaves one.
 */
static int set_cpu_seconds(uint64_t seconds) {
    struct rlimit64_raw both = {.soft = seconds, .hard = seconds + 1};
    int err = set(RLIMIT_CPU, &both);
    both.hard = seconds;
    return err == -EPERM ? set(RLIMIT_CPU, &both) : err;
}

static int set_both(int resource, uint64_t value) {
    return set(resource, &(struct rlimit64_raw){.soft = value, .hard = value});
}

static int apply(enum link_limit limit, int64_t value) {
    switch (limit) {
    case LINK_LIMIT_NOFILE:
        return set_both(RLIMIT_NOFILE, (uint64_t)value);
    case LINK_LIMIT_NPROC:
        return set_both(RLIMIT_NPROC, (uint64_t)value);
    case LINK_LIMIT_CORE:
        return set_both(RLIMIT_CORE, (uint64_t)value);
    case LINK_LIMIT_FSIZE:
        return set_both(RLIMIT_FSIZE, (uint64_t)value);
    case LINK_LIMIT_CPU_SECONDS:
        return set_cpu_seconds((uint64_t)value);
    case LINK_LIMIT_NICE:
        return syscall(SYS_setpriority, PRIO_PROCESS, 0, (int)value) < 0 ? -errno : 0;
    default: /* the group's */
        return 0;
    }
}

int bounds_apply(const struct bounds *bounds, unsigned *ret_limit) {
    for (unsigned i = 0; i < LINK_LIMIT_COUNT; i++) {
        int err = bounds_has(bounds, i) ? apply(i, bounds->value[i]) : 0;
        if (err < 0) {
            *ret_limit = i;
            return err;
        }
    }
    return 0;
}
