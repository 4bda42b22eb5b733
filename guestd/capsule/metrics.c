#include "capsule/metrics.h"

#include <dirent.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "capsule/procfile.h"

int capsule_info_read(struct capsule_info *ret) {
    char text[4096];
    cpu_set_t cpus;

    int r = procfile_read("/proc/meminfo", text, sizeof(text));
    if (r < 0)
        return r;
    *ret = (struct capsule_info){
        .mem_total = procfile_number(text, "MemTotal:") << 10,
        .mem_available = procfile_number(text, "MemAvailable:") << 10,
    };
    if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
        ret->cpus = (uint32_t)CPU_COUNT(&cpus);
    if (procfile_read("/proc/1/comm", ret->pid1, sizeof(ret->pid1)) < 0)
        ret->pid1[0] = '\0';
    ret->pid1[strcspn(ret->pid1, "\n")] = '\0';
    return 0;
}

/* Without . and .., and without the one that is open to count them when it is our own. */
static uint32_t count_fds(const char *path, bool own) {
    uint32_t n = 0;

    DIR *dir = opendir(path);
    if (!dir)
        return 0;
    for (const struct dirent *entry = readdir(dir); entry; entry = readdir(dir))
        n += entry->d_name[0] != '.';
    closedir(dir);
    return n - (own && n > 0);
}

int capsule_process_read(int pid, struct capsule_process *ret) {
    char path[64], text[4096], who[16] = "self";

    if (pid > 0)
        snprintf(who, sizeof(who), "%d", pid);
    snprintf(path, sizeof(path), "/proc/%s/status", who);
    int r = procfile_read(path, text, sizeof(text));
    if (r < 0)
        return r;
    *ret = (struct capsule_process){.rss = procfile_number(text, "VmRSS:") << 10};
    snprintf(path, sizeof(path), "/proc/%s/fd", who);
    ret->open_fds = count_fds(path, pid <= 0);
    return 0;
}
