/*
 * How much of the machine is in use: read from the kernel, nothing kept. What can't be read is 0.
 * Inside a container the kernel tells what it tells there, which is mostly the whole machine.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Share of the last ten seconds, in %, that somebody (some) or everybody (full) waited for it. */
struct capsule_pressure {
    double some, full;
};

struct capsule_usage {
    uint32_t cpus;         /* that guestd may run on */
    uint64_t cpu_busy_ms;  /* since boot, all processors together */
    uint64_t cpu_total_ms; /* the same with idle, waiting and stolen time */
    uint64_t mem_total, mem_used, mem_cache;
    uint64_t disk_total, disk_used; /* of the file system at / */
    double load[3];                 /* 1, 5 and 15 minutes */
    bool has_pressure;              /* the kernel tells it (CONFIG_PSI) */
    struct capsule_pressure cpu, memory, io;
};

void capsule_usage_read(struct capsule_usage *ret);
