#include "capsule/usage.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "capsule/procfile.h"

static void read_cpu(struct capsule_usage *usage) {
    /* user nice system idle iowait irq softirq steal; what a guest used is in user already */
    enum { IDLE = 3, IOWAIT = 4, STEAL = 7, TIMES = 8 };
    const long per_second = sysconf(_SC_CLK_TCK);
    uint64_t busy = 0, total = 0;
    char text[1024];
    cpu_set_t cpus;

    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        usage->cpus = (uint32_t)CPU_COUNT(&cpus);
    if (procfile_read("/proc/stat", text, sizeof(text)) < 0 || strncmp(text, "cpu ", 4) != 0)
        return;
    char *at = text + 4;
    for (int i = 0; i < TIMES; i++) {
        uint64_t ticks = strtoull(at, &at, 10);

        total += ticks;
        busy += i == IDLE || i == IOWAIT || i == STEAL ? 0 : ticks;
    }
    usage->cpu_busy_ms = busy * 1000 / (uint64_t)per_second;
    usage->cpu_total_ms = total * 1000 / (uint64_t)per_second;
}

static void read_memory(struct capsule_usage *usage) {
    char text[4096];

    if (procfile_read("/proc/meminfo", text, sizeof(text)) < 0)
        return;
    const uint64_t available = procfile_number(text, "MemAvailable:") << 10;
    const uint64_t shared = procfile_number(text, "Shmem:") << 10;
    const uint64_t kept = (procfile_number(text, "Cached:") + procfile_number(text, "Buffers:") +
                           procfile_number(text, "SReclaimable:"))
                          << 10;
    usage->mem_total = procfile_number(text, "MemTotal:") << 10;
    usage->mem_used = usage->mem_total > available ? usage->mem_total - available : 0;
    /* tmpfs is counted as cached, but can't be dropped */
    usage->mem_cache = kept > shared ? kept - shared : 0;
}

static void read_disk(struct capsule_usage *usage) {
    struct statvfs disk;

    if (statvfs("/", &disk) < 0)
        return;
    usage->disk_total = (uint64_t)disk.f_blocks * disk.f_frsize;
    usage->disk_used = (uint64_t)(disk.f_blocks - disk.f_bfree) * disk.f_frsize;
}

static void read_load(struct capsule_usage *usage) {
    char text[128], *at = text;

    if (procfile_read("/proc/loadavg", text, sizeof(text)) < 0)
        return;
    for (int i = 0; i < 3; i++)
        usage->load[i] = strtod(at, &at);
}

static double average(const char *text, const char *line) {
    const char *at = strstr(text, line);

    return at ? strtod(at + strlen(line), NULL) : 0;
}

static bool read_pressure(const char *what, struct capsule_pressure *ret) {
    char path[64], text[256];

    snprintf(path, sizeof(path), "/proc/pressure/%s", what);
    if (procfile_read(path, text, sizeof(text)) <= 0)
        return false;
    ret->some = average(text, "some avg10=");
    ret->full = average(text, "full avg10=");
    return true;
}

void capsule_usage_read(struct capsule_usage *ret) {
    *ret = (struct capsule_usage){0};
    read_cpu(ret);
    read_memory(ret);
    read_disk(ret);
    read_load(ret);
    ret->has_pressure = read_pressure("cpu", &ret->cpu) && read_pressure("memory", &ret->memory) &&
                        read_pressure("io", &ret->io);
}
