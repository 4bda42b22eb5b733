/*
 * What the machine has and what a process takes: read from /proc, nothing kept. What can't be read
 * is 0.
 */
#pragma once

#include <stdint.h>

struct capsule_info {
    uint32_t cpus;          /* that guestd may run on */
    uint64_t mem_total;     /* bytes */
    uint64_t mem_available; /* bytes */
    char pid1[32];          /* what PID 1 is called */
};

/* Returns 0 or -errno when /proc/meminfo can't be read. */
int capsule_info_read(struct capsule_info *ret);

struct capsule_process {
    uint64_t rss; /* bytes */
    uint32_t open_fds;
};

/* `pid` 0: the caller. Returns 0 or -errno (-ESRCH or -ENOENT: no such process). open_fds may be
 * refused for others: 0. */
int capsule_process_read(int pid, struct capsule_process *ret);
