#include "supervisor/group_bounds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PERIOD_US 100000
#define MILLIONTHS 1000000
#define CPU_MOST (INT64_C(65536) * MILLIONTHS)

static int write_file(int group, const char *name, const char *text) {
    int fd = openat(group, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
    close(fd);
    return err;
}

static int write_number(int group, const char *name, int64_t number) {
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)number);
    return write_file(group, name, text);
}

/* Swap would be a way around it; the kernel may have none. */
static int write_memory(int group, int64_t bytes) {
    int err = write_number(group, "memory.max", bytes);
    if (err < 0)
        return err;
    err = write_file(group, "memory.swap.max", "0");
    return err == -ENOENT ? 0 : err;
}

static int write_cpu(int group, int64_t millionths) {
    char text[64];
    int64_t share = millionths < CPU_MOST ? millionths : CPU_MOST;
    snprintf(text, sizeof text, "%lld %d", (long long)(share * PERIOD_US / MILLIONTHS), PERIOD_US);
    return write_file(group, "cpu.max", text);
}

static int write_one(int group, enum link_limit limit, int64_t value, uint32_t controllers) {
    switch (limit) {
    case LINK_LIMIT_MEMORY_MAX:
        return write_memory(group, value);
    case LINK_LIMIT_PIDS_MAX:
        return write_number(group, "pids.max", value);
    case LINK_LIMIT_CPU_MAX:
        return write_cpu(group, value);
    case LINK_LIMIT_NICE:
        /* Where groups share the CPU out, a process's niceness counts among its group's only. */
        if ((controllers & LINK_CONTROLLER_CPU) != 0)
            return write_number(group, "cpu.weight.nice", value);
        return 0;
    default: /* the program's own */
        return 0;
    }
}

unsigned group_bounds_first(const struct bounds *bounds) {
    unsigned i = LINK_LIMIT_MEMORY_MAX;
    while (i < LINK_LIMIT_COUNT && !bounds_has(bounds, i))
        i++;
    return i;
}

bool group_bounds_needed(const struct bounds *bounds, uint32_t controllers) {
    return group_bounds_first(bounds) < LINK_LIMIT_COUNT ||
           (bounds_has(bounds, LINK_LIMIT_NICE) && (controllers & LINK_CONTROLLER_CPU) != 0);
}

int group_bounds_write(int group, const struct bounds *bounds, uint32_t controllers,
                       unsigned *ret_limit) {
    for (unsigned i = 0; i < LINK_LIMIT_COUNT; i++) {
        int err = bounds_has(bounds, i) ? write_one(group, i, bounds->value[i], controllers) : 0;
        if (err < 0) {
            *ret_limit = i;
            return err;
        }
    }
    return 0;
}
