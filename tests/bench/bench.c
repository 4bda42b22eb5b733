/* bench GUESTD [ROW…]: prints every row, or the named ones; exit code 1 when a bound is missed. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool wanted(int argc, char **argv, const char *name) {
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return true;
    return argc == 2;
}

int main(int argc, char **argv) {
    struct guestd guestd;
    char self[4096];

    if (!realpath("/proc/self/exe", self))
        die("realpath");
    if (argc == 3 && strcmp(argv[1], "produce") == 0)
        return produce(strtoull(argv[2], NULL, 10));
    if (argc < 2) {
        fprintf(stderr, "usage: bench GUESTD [idle|exec|stream|stall|upload|remove|list]...\n");
        return 2;
    }
    if (wanted(argc, argv, "idle"))
        bench_idle(argv[1]);
    guestd_start(&guestd, argv[1]);
    if (wanted(argc, argv, "exec"))
        bench_exec(&guestd);
    if (wanted(argc, argv, "stream"))
        bench_stream(&guestd, self);
    if (wanted(argc, argv, "stall"))
        bench_stall(&guestd, self);
    if (wanted(argc, argv, "upload"))
        bench_upload(&guestd);
    if (wanted(argc, argv, "remove"))
        bench_remove(&guestd);
    if (wanted(argc, argv, "list"))
        bench_list(&guestd);
    guestd_stop(&guestd);
    return rows_missed() > 0;
}
