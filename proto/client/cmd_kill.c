/* kill: a signal to what guestd has started. */
#include "proto/client/commands.h"

enum { KEY_SCOPE = 256 };

static const struct option_row options[] = {
    {'s', "signal", "SIGNAL", "Its name, with or without SIG, or its number; otherwise KILL.",
     false},
    {KEY_SCOPE, "scope", "SCOPE",
     "tree (the default) reaches all descendants, group the process group, leader it alone.",
     false},
    {0},
};

/* A number travels as one: the guest knows its own. */
static void put_signal(struct guestproto_params *params, const char *signal) {
    int64_t number = 0;

    for (const char *c = signal; *c; c++) {
        if (*c < '0' || *c > '9' || number > 1000) {
            guestproto_put_name(params, "signal", signal);
            return;
        }
        number = number * 10 + (*c - '0');
    }
    guestproto_put_int(params, "signal", number);
}

static int run(struct ctl *ctl) {
    const char *argument, *signal = NULL, *scope = NULL;
    int key, r, exit_code = EXIT_DONE;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 's')
            signal = argument;
        else
            scope = argument;
    }
    r = ctl_begin(ctl, 1, -1);
    if (r != 0)
        return r;
    for (int i = 0; i < ctl->argc && exit_code != EXIT_OWN; i++) {
        struct guestproto_params *params = ctl_params();

        guestproto_put_selector(params, ctl->argv[i]);
        if (signal)
            put_signal(params, signal);
        guestproto_put_text(params, "scope", scope);
        r = ctl_call_simple(ctl, "process.kill", params);
        if (r != EXIT_DONE)
            exit_code = r;
    }
    return exit_code;
}

const struct command cmd_kill = {
    .name = "kill",
    .group = GROUP_PROCESSES,
    .usage = "[-s SIGNAL] [--scope SCOPE] PID|TAG...",
    .summary = "send a signal to programs and their descendants",
    .text = "Reaches only what guestd has started. SIGKILL is answered once the program is gone.",
    .options = options,
    .run = run,
};
