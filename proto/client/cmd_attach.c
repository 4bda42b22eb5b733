/* attach: to a program that runs, or ran: what it wrote and writes, and what one types. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/live.h"
#include "proto/client/outcome.h"
#include "proto/message.h"

enum { KEY_FROM = 256, KEY_WINDOW };

static const struct option_row options[] = {
    {'i', "interactive", NULL,
     "What is typed, or our stdin, goes to it; its stdin must be open. Where it has a terminal, "
     "ours "
     "becomes that.",
     false},
    {KEY_FROM, "from", "WHERE",
     "start: the oldest output that is kept (the default). now: what comes from here on. A number: "
     "that byte of its stdout, or of its terminal's output.",
     false},
    {KEY_WINDOW, "window", "BYTES", "How much output may be under way; otherwise 1M.", false},
    {0},
};

struct attach_options {
    bool input;
    const char *from;
    uint64_t window;
};

/* Whether it has a terminal. 0, or what the guest answered. */
static int ask_terminal(struct ctl *ctl, bool *ret_terminal) {
    struct guestproto_params *params = ctl_params();
    struct guestproto_reply reply = {0};
    int r;

    *ret_terminal = false;
    guestproto_put_selector(params, ctl->argv[0]);
    r = guestproto_call(ctl->client, "process.get", params, &reply);
    guestproto_params_free(params);
    guestproto_get_bool(&reply.result, "pty", ret_terminal);
    guestproto_reply_free(&reply);
    return r;
}

static bool put_from(struct ctl *ctl, struct guestproto_params *params, const char *from,
                     bool terminal) {
    msgpack_packer *pk;
    uint64_t off;

    if (!from || strcmp(from, "start") == 0 || strcmp(from, "now") == 0) {
        guestproto_put_text(params, "from", from);
        return true;
    }
    if (!options_bytes(ctl, "--from", from, &off))
        return false;
    pk = guestproto_put(params, "from");
    msgpack_pack_map(pk, 1);
    pack_kv_uint(pk, terminal ? "pty" : "stdout", off);
    return true;
}

/* 1 would be the program's. */
static int failed(const struct ctl *ctl, int r) {
    int exit_code = ctl_failed(ctl, r);

    return exit_code == EXIT_GUEST ? EXIT_OWN : exit_code;
}

static int detached(const struct ctl *ctl, const struct live *live) {
    fflush(stdout);
    fprintf(stderr, "guestctl: attach: detached; ");
    human_text(stderr, ctl->argv[0]);
    fprintf(stderr, " goes on\n");
    return live->escape.out ? EXIT_DONE : EXIT_INTERRUPTED;
}

static int watch(struct ctl *ctl, const struct attach_options *attach,
                 struct guestproto_params *params) {
    struct live live = {.ctl = ctl, .input = attach->input};
    struct guestproto_reply reply = {0};
    struct guestproto_exec exec;
    int r = ask_terminal(ctl, &live.terminal), exit_code;

    if (r != 0)
        return failed(ctl, r);
    guestproto_put_selector(params, ctl->argv[0]);
    if (!put_from(ctl, params, attach->from, live.terminal))
        return EXIT_OWN;
    /* Who only looks leaves the size alone. */
    live.terminal = live.terminal && attach->input;
    exec = live_callbacks(&live);
    exec.window = attach->window;
    r = guestproto_attach(ctl->client, params, &exec, &reply);
    live_end(&live, r);
    if (r == GUESTPROTO_CANCELLED || r == -ECANCELED)
        return detached(ctl, &live);
    if (r != 0)
        return failed(ctl, r);
    outcome_remark(ctl, &reply.result);
    exit_code = outcome_exit_code(&reply.result);
    guestproto_reply_free(&reply);
    return exit_code;
}

static int run(struct ctl *ctl) {
    struct attach_options attach = {0};
    struct guestproto_params *params;
    const char *argument;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'i')
            attach.input = true;
        else if (key == KEY_FROM)
            attach.from = argument;
        else if (!options_bytes(ctl, "--window", argument, &attach.window))
            return EXIT_OWN;
    }
    r = ctl_begin(ctl, 1, 1);
    if (r != 0)
        return r;
    params = ctl_params();
    r = watch(ctl, &attach, params);
    guestproto_params_free(params);
    return r;
}

const struct command cmd_attach = {
    .name = "attach",
    .group = GROUP_PROCESSES,
    .usage = "[-i] [--from WHERE] PID|TAG",
    .summary = "watch a program that runs, or ran, and type into it",
    .text =
        "Prints what the program wrote and writes, as exec does, and ends with its exit code.\n"
        "Any number may watch, late, again, and after its end; none of them makes it wait, and\n"
        "what was overwritten before it was read is told on stderr.\n"
        "\n"
        "Ctrl-C detaches, and so does ~. typed at the beginning of a line where the keys are\n"
        "the program's (-i, and it has a terminal); the program goes on. The end of our stdin\n"
        "leaves its stdin open: see `input --close`.",
    .options = options,
    .after =
        "Exit status\n"
        "  the program's own, as for exec; 0 after ~. and 130 after Ctrl-C; 125 when there is\n"
        "  no such program, or guestctl failed.\n"
        "\n"
        "Examples\n"
        "  guestctl exec -bt --tag work -- bash\n"
        "  guestctl attach -i work\n"
        "  guestctl attach --from now web | grep error",
    .run = run,
};
