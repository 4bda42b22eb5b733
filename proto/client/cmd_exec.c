/* exec: a program's output and exit code, as if it had run here. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/client/commands.h"
#include "proto/client/exec_options.h"
#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/live.h"
#include "proto/client/outcome.h"
#include "proto/client/terminal.h"
#include "proto/message.h"

/* 127 and 126, as a shell would say it; the rest is guestctl's. */
static int failed(const struct ctl *ctl, int r) {
    const struct guestproto_error *error = guestproto_error(ctl->client);
    int exit_code = ctl_failed(ctl, r);
    bool program = strcmp(error->field, "cmd") == 0;

    if (r > 0 && program && r == GUESTPROTO_NOT_FOUND)
        return EXIT_NO_PROGRAM;
    if (r > 0 && program && (r == GUESTPROTO_PERMISSION_DENIED || r == GUESTPROTO_WRONG_TYPE))
        return EXIT_NO_START;
    if (r > 0 && strcmp(error->field, "args") == 0)
        return EXIT_NO_START;
    return exit_code == EXIT_GUEST ? EXIT_OWN : exit_code;
}

static int run_live(struct ctl *ctl, const struct exec_options *options,
                    struct guestproto_params *params) {
    struct live live = {
        .ctl = ctl,
        .input = options->input,
        .terminal = options->terminal,
        .seek = options->keyed,
    };
    struct guestproto_exec exec = live_callbacks(&live);
    struct guestproto_reply reply = {0};
    int exit_code, r;

    exec.window = options->window;
    r = guestproto_exec(ctl->client, params, &exec, &reply);
    live_end(&live, r);
    if (r != 0)
        return failed(ctl, r);
    outcome_remark(ctl, &reply.result);
    exit_code = outcome_exit_code(&reply.result);
    guestproto_reply_free(&reply);
    return exit_code;
}

static void print_begun(const msgpack_object *result) {
    struct guestproto_bytes tag = {"?", 1};
    int64_t pid = 0;

    guestproto_get_int(result, "pid", &pid);
    guestproto_get_bytes(result, "tag", &tag);
    printf("%lld\t", (long long)pid);
    human_bytes(stdout, tag);
    putchar('\n');
}

static int run_captured(struct ctl *ctl, const struct exec_options *options,
                        struct guestproto_params *params) {
    struct live live = {.ctl = ctl, .input = options->input && !options->background};
    struct guestproto_exec exec = live_callbacks(&live);
    struct guestproto_reply reply = {0};
    int exit_code = EXIT_DONE, r;

    exec.captured = true;
    r = guestproto_exec(ctl->client, params, &exec, &reply);
    if (r != 0)
        return failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    else if (options->background)
        print_begun(&reply.result);
    else
        live_end(&live, outcome_output(&reply.result));
    if (!options->background) {
        outcome_remark(ctl, &reply.result);
        exit_code = outcome_exit_code(&reply.result);
    }
    guestproto_reply_free(&reply);
    return exit_code;
}

/* False: ctl->exit_code says how to end. */
static bool parse(struct ctl *ctl, struct exec_options *exec, struct guestproto_params *params) {
    const char *argument;
    int key;

    ctl->exit_code = EXIT_OWN;
    while ((key = options_next(ctl, &argument)) != 0)
        if (key < 0 || exec_option_take(ctl, key, argument, exec, params) < 0)
            return false;
    if (exec->terminal && !exec->background && (exec->capture || ctl->json)) {
        ctl_complain(ctl, "-t is for live output: not with --capture or --json");
        return false;
    }
    return options_operands(ctl, 1, -1) && exec_options_put_limits(ctl, exec, params);
}

/* As large as ours, and as it calls itself; the usual where there is none. */
static void put_terminal(struct guestproto_params *params) {
    const char *term = getenv("TERM");
    unsigned rows = 24, cols = 80;
    msgpack_packer *pk = guestproto_put(params, "pty");

    terminal_size(&rows, &cols);
    msgpack_pack_map(pk, term && *term ? 3 : 2);
    pack_kv_uint(pk, "rows", rows);
    pack_kv_uint(pk, "cols", cols);
    if (term && *term)
        pack_kv_name(pk, "term", term);
}

static int start(struct ctl *ctl, const struct exec_options *exec,
                 struct guestproto_params *params) {
    int r = ctl_connect(ctl);

    if (r != 0)
        return r;
    guestproto_put_name(params, "cmd", ctl->argv[0]);
    if (ctl->argc > 1)
        guestproto_put_names(params, "args", ctl->argv + 1, (size_t)ctl->argc - 1);
    if (exec->n_envs)
        guestproto_put_envs(params, "envs", exec->envs, exec->n_envs);
    if (exec->background)
        guestproto_put_bool(params, "background", true);
    if (exec->terminal)
        put_terminal(params);
    else if (exec->input)
        guestproto_put_bool(params, "stdin_open", true);
    if (!exec->background && !exec->capture && !ctl->json)
        return run_live(ctl, exec, params);
    /* What is kept for a later `wait --output` has its encoding chosen there. */
    if (ctl->json)
        guestproto_put_text(params, "encoding", exec->encoding);
    else if (!exec->background)
        guestproto_put_text(params, "encoding", "raw");
    return run_captured(ctl, exec, params);
}

static int run(struct ctl *ctl) {
    struct exec_options exec = {
        .envs = calloc((size_t)ctl->argc, sizeof(*exec.envs)),
        .limits = calloc((size_t)ctl->argc, sizeof(*exec.limits)),
    };
    struct guestproto_params *params = ctl_params();
    int exit_code;

    if (!exec.envs || !exec.limits)
        exit_code = ctl_complain(ctl, "no memory");
    else
        exit_code = parse(ctl, &exec, params) ? start(ctl, &exec, params) : ctl->exit_code;
    guestproto_params_free(params);
    free(exec.envs);
    free(exec.limits);
    return exit_code;
}

const struct command cmd_exec = {
    .name = "exec",
    .group = GROUP_PROCESSES,
    .usage = "[OPTION]... [--] PROGRAM [ARGUMENT]...",
    .summary = "run a program, its output live",
    .text =
        "Runs PROGRAM in the capsule, prints its stdout and stderr as they come, and ends with\n"
        "its exit code. No shell is involved: write `exec -- sh -c 'a | b'` for one. The program\n"
        "is looked up in its own PATH. Its stdin is /dev/null, with -i ours.\n"
        "\n"
        "Ctrl-C ends the program and all its descendants; a second one ends guestctl alone.\n"
        "With -it the keys are the program's, Ctrl-C too, as over ssh; typed at the beginning\n"
        "of a line, ~. ends the program as Ctrl-C does otherwise. Start what shall go on\n"
        "without you with -bt, and look at it with `attach -i`.\n"
        "\n"
        "When the connection is lost, but not the program, guestctl goes on with it where it\n"
        "was, and says so.\n"
        "With --json the output is captured and printed with the result.",
    .options = exec_option_rows,
    .after =
        "Exit status\n"
        "  the program's own; 128+N when signal N ended it; 124 when its time was over; 125 when\n"
        "  guestctl or the capsule failed; 126 when it can't be run; 127 when there is no such\n"
        "  program.\n"
        "\n"
        "Examples\n"
        "  guestctl exec -- uname -a\n"
        "  guestctl exec -w /workspace -e DEBUG=1 -u 1000 --timeout 60 -- make test\n"
        "  guestctl exec -it -- bash\n"
        "  guestctl exec -i -- sh -c 'gzip > /tmp/log.gz' < log\n"
        "  guestctl exec --limit memory_max=512M --limit cpu_max=0.5 -- ./build\n"
        "  guestctl exec -b --tag web -- python3 -m http.server 8000\n"
        "  guestctl --json exec -- python3 -c 'print(\"hello\")'",
    .options_first = true,
    .run = run,
};
