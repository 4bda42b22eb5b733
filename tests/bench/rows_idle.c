/* Rows about doing nothing: size, memory, wake-ups, the time to start. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    STARTS = 41,
    IDLE_S = 5,
};

/* The sum of all lines of `file` of a process that begin with `key`. */
static uint64_t proc_sum(pid_t pid, const char *file, const char *key) {
    char path[64], line[256];
    uint64_t sum = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    f = fopen(path, "re");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0)
            sum += strtoull(line + strlen(key), NULL, 10);
    fclose(f);
    return sum;
}

static uint64_t switches(const struct guestd *guestd) {
    return proc_sum(guestd->supervisor, "status", "voluntary_ctxt_switches:") +
           proc_sum(guestd->agent, "status", "voluntary_ctxt_switches:");
}

void bench_idle(const char *binary) {
    double answered[STARTS], pss;
    struct guestd guestd;
    struct stat st;
    uint64_t before;

    if (stat(binary, &st) < 0)
        die(binary);
    row("size of guestd", (double)st.st_size / 1024, "KiB", true, 500, "%s", "static, stripped");
    for (unsigned i = 0; i < STARTS; i++) {
        guestd_start(&guestd, binary);
        answered[i] = guestd.answered_us / 1e3;
        guestd_stop(&guestd);
    }
    row("start to the first answer, p50", median(answered, STARTS), "ms", true, 1.5,
        "fork, exec, both processes, ping");
    guestd_start(&guestd, binary);
    sleep(1); /* what a start leaves behind is not idle yet */
    before = switches(&guestd);
    sleep(IDLE_S);
    row("wake-ups while idle, both processes", (double)(switches(&guestd) - before) / IDLE_S, "/s",
        true, 0, "voluntary switches in %d s", IDLE_S);
    pss = (double)(proc_sum(guestd.supervisor, "smaps_rollup", "Pss:") +
                   proc_sum(guestd.agent, "smaps_rollup", "Pss:"));
    row("idle PSS, both processes", pss, "KiB", true, 800, "%s", "smaps_rollup");
    guestd_stop(&guestd);
}
