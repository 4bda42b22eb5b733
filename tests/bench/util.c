#include "bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned missed;

double now_us(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double median(double *values, unsigned n) {
    qsort(values, n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

_Noreturn void die(const char *what) {
    fprintf(stderr, "bench: %s: %s\n", what, strerror(errno));
    exit(2);
}

void row(const char *name, double value, const char *unit, bool at_most, double bound,
         const char *detail, ...) {
    bool held = at_most ? value <= bound : value >= bound;
    char text[128];
    va_list args;

    va_start(args, detail);
    vsnprintf(text, sizeof text, detail, args);
    va_end(args);
    missed += !held;
    printf("%-44s %9.2f %-6s %s %8.2f  %-6s  %s\n", name, value, unit, at_most ? "<=" : ">=", bound,
           held ? "ok" : "MISSED", text);
    fflush(stdout);
}

unsigned rows_missed(void) {
    return missed;
}

void write_all(int fd, const void *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("write");
        data = (const char *)data + n;
        len -= (size_t)n;
    }
}

void read_all(int fd, void *data, size_t len) {
    while (len > 0) {
        ssize_t n = read(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            die("read");
        data = (char *)data + n;
        len -= (size_t)n;
    }
}

uint64_t process_rss_kb(pid_t pid) {
    char path[64], line[128];
    uint64_t kb = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    f = fopen(path, "re");
    if (!f)
        die(path);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, "VmRSS:", 6) == 0)
            kb = strtoull(line + 6, NULL, 10);
    fclose(f);
    return kb;
}
