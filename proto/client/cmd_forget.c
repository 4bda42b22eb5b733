/* forget: what is remembered of programs that have ended. */
#include "proto/client/commands.h"

static int run(struct ctl *ctl) {
    const char *argument;
    int key, r, exit_code = EXIT_DONE;

    while ((key = options_next(ctl, &argument)) != 0)
        if (key < 0)
            return ctl->exit_code;
    r = ctl_begin(ctl, 1, -1);
    if (r != 0)
        return r;
    for (int i = 0; i < ctl->argc && exit_code != EXIT_OWN; i++) {
        struct guestproto_params *params = ctl_params();

        guestproto_put_selector(params, ctl->argv[i]);
        r = ctl_call_simple(ctl, "process.forget", params);
        if (r != EXIT_DONE)
            exit_code = r;
    }
    return exit_code;
}

const struct command cmd_forget = {
    .name = "forget",
    .group = GROUP_PROCESSES,
    .usage = "PID|TAG...",
    .summary = "forget programs that have ended, and their output",
    .text =
        "Their memory is free at once, not in ten minutes, and so are their keys. One that runs\n"
        "is not forgotten.",
    .run = run,
};
