/* wait: until a program has ended, and how. */
#include <stdio.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/outcome.h"

enum { KEY_TIMEOUT = 256, KEY_ENCODING };

static const struct option_row options[] = {
    {'o', "output", NULL, "Print what was kept of its stdout and stderr.", false},
    {KEY_TIMEOUT, "timeout", "SECONDS", "Wait no longer, and end with 124; the program runs on.",
     false},
    {KEY_ENCODING, "encoding", "HOW", "With --json --output: auto (the default), utf-8 or base64.",
     false},
    {0},
};

/* One line: "web: exited 0 after 1.25 s". */
static void print_end(const char *who, const msgpack_object *record) {
    struct guestproto_bytes reason = {"ended", 5}, signal;
    double ms = 0;
    int64_t code;
    char text[HUMAN_TEXT];

    human_text(stdout, who);
    guestproto_get_bytes(record, "reason", &reason);
    printf(": ");
    human_bytes(stdout, reason);
    if (guestproto_get_bytes(record, "signal", &signal)) {
        putchar(' ');
        human_bytes(stdout, signal);
    } else if (guestproto_get_int(record, "exit_code", &code)) {
        printf(" %lld", (long long)code);
    }
    guestproto_get_number(record, "duration_ms", &ms);
    printf(" after %s\n", human_duration(ms / 1000, text));
}

static int finished(struct ctl *ctl, const msgpack_object *record, bool output) {
    if (ctl->json)
        json_print(record);
    else if (output)
        outcome_output(record);
    else
        print_end(ctl->argv[0], record);
    return outcome_exit_code(record);
}

static int run(struct ctl *ctl) {
    struct guestproto_reply reply = {0};
    struct guestproto_params *params;
    const char *argument, *encoding = NULL;
    bool output = false;
    double seconds = -1;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'o')
            output = true;
        else if (key == KEY_ENCODING)
            encoding = argument;
        else if (!options_seconds(ctl, "--timeout", argument, &seconds))
            return EXIT_OWN;
    }
    r = ctl_begin(ctl, 1, 1);
    if (r != 0)
        return r;

    params = ctl_params();
    guestproto_put_selector(params, ctl->argv[0]);
    guestproto_put_bool(params, "output", output);
    if (seconds >= 0)
        guestproto_put_number(params, "timeout", seconds);
    if (output)
        guestproto_put_text(params, "encoding", ctl->json ? encoding : "raw");
    r = guestproto_call(ctl->client, "process.wait", params, &reply);
    guestproto_params_free(params);
    if (r != 0) {
        r = ctl_failed(ctl, r);
        return r == EXIT_GUEST ? EXIT_OWN : r; /* 1 would be the program's */
    }
    r = finished(ctl, &reply.result, output);
    guestproto_reply_free(&reply);
    return r;
}

const struct command cmd_wait = {
    .name = "wait",
    .group = GROUP_PROCESSES,
    .usage = "[--timeout SECONDS] [--output] PID|TAG",
    .summary = "wait until a program has ended",
    .text =
        "Waits for a program that guestd started, says how it ended, and ends with its exit code.\n"
        "One that has ended already is found for ten minutes.",
    .options = options,
    .after =
        "Exit status\n"
        "  the program's own, as for exec; 124 when it did not end in time; 125 when there is no\n"
        "  such program, or guestctl failed.",
    .run = run,
};
