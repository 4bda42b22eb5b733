/* exec: a program's output and exit code, as if it had run here. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/commands.h"
#include "proto/client/fd.h"
#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/outcome.h"

enum {
    KEY_TIMEOUT = 256,
    KEY_TAG,
    KEY_KILL_GRACE,
    KEY_KILL_REST,
    KEY_MAX_OUTPUT,
    KEY_OVERFLOW,
    KEY_ON_FULL,
    KEY_CAPTURE,
    KEY_WINDOW,
    KEY_ENCODING,
    KEY_LIMIT,
    KEY_SECCOMP,
    KEY_NO_NEW_PRIVS,
    KEY_KEY,
};

static const struct option_row options[] = {
    {'b', "background", NULL, "Start it, print its pid and tag, and don't wait.", false},
    {'e', "env", "NAME=VALUE", "Set a variable; NAME alone unsets it. May be repeated.", false},
    {'w', "cwd", "DIR", "Where it starts; otherwise its user's home, or /.", false},
    {'u', "user", "USER", "Who it runs as: name, uid, name:group or uid:gid; otherwise root.",
     false},
    {KEY_TIMEOUT, "timeout", "SECONDS",
     "Kill it and all its descendants after so long, and end with 124. 0: never. Without it, never "
     "while output is live, and 30 s with --capture.",
     false},
    {KEY_TAG, "tag", "TAG", "The name by which wait, kill and ps know it.", false},
    {KEY_KILL_GRACE, "kill-grace", "SECONDS",
     "From SIGTERM to SIGKILL when time is up or Ctrl-C is pressed; otherwise 2.", false},
    {KEY_KILL_REST, "kill-rest", NULL, "When it ends by itself, kill the descendants it leaves.",
     false},
    {KEY_MAX_OUTPUT, "max-output", "BYTES",
     "Keep at most so much of stdout and of stderr: 64K, 16M.", false},
    {KEY_OVERFLOW, "overflow", "HOW",
     "With --capture, what to do with more output than is kept: head keeps the first bytes (the "
     "default), tail the last ones, kill ends the program.",
     false},
    {KEY_ON_FULL, "on-full", "HOW",
     "With live output and a slow reader: block makes the program wait (the default), drop loses "
     "its oldest output, and says so.",
     false},
    {KEY_CAPTURE, "capture", NULL, "Collect the output in the capsule and print it at the end.",
     false},
    {KEY_CAPTURE, "no-stream", NULL, "The same.", false},
    {KEY_WINDOW, "window", "BYTES", "How much live output may be under way; otherwise 1M.", false},
    {KEY_ENCODING, "encoding", "HOW", "With --json: auto (the default), utf-8 or base64.", false},
    {KEY_SECCOMP, "seccomp", "PROFILE", "A filter of system calls: none (the default) or default.",
     false},
    {KEY_NO_NEW_PRIVS, "no-new-privs", NULL, "It and its descendants can't gain privileges.",
     false},
    {'i', "interactive", NULL, "stdin", true},
    {'t', "tty", NULL, "terminal", true},
    {KEY_KEY, "key", "KEY", "idempotency", true},
    {KEY_LIMIT, "limit", "NAME=N", "resource limits", true},
    {0},
};

struct exec_options {
    bool background, capture;
    uint64_t window;
    const char *encoding;
    char **envs; /* as many as there are arguments is room enough */
    size_t n_envs;
};

static int put_number(struct ctl *ctl, struct guestproto_params *params, const char *key,
                      const char *text) {
    double value;

    if (!options_seconds(ctl, key, text, &value))
        return -1;
    guestproto_put_number(params, key, value);
    return 0;
}

/* Takes one option into params or exec. 0, or -1: told. */
static int take_option(struct ctl *ctl, int key, const char *argument, struct exec_options *exec,
                       struct guestproto_params *params) {
    uint64_t bytes;

    switch (key) {
    case 'b':
        exec->background = true;
        break;
    case 'e':
        exec->envs[exec->n_envs++] = (char *)argument;
        break;
    case 'w':
        guestproto_put_name(params, "cwd", argument);
        break;
    case 'u':
        guestproto_put_name(params, "user", argument);
        break;
    case KEY_TIMEOUT:
        return put_number(ctl, params, "timeout", argument);
    case KEY_TAG:
        guestproto_put_name(params, "tag", argument);
        break;
    case KEY_KILL_GRACE:
        return put_number(ctl, params, "kill_grace", argument);
    case KEY_KILL_REST:
        guestproto_put_bool(params, "kill_rest", true);
        break;
    case KEY_MAX_OUTPUT:
        if (!options_bytes(ctl, "--max-output", argument, &bytes))
            return -1;
        guestproto_put_int(params, "max_output", (int64_t)bytes);
        break;
    case KEY_OVERFLOW:
        guestproto_put_name(params, "overflow", argument);
        break;
    case KEY_ON_FULL:
        guestproto_put_name(params, "on_full", argument);
        break;
    case KEY_CAPTURE:
        exec->capture = true;
        break;
    case KEY_WINDOW:
        return options_bytes(ctl, "--window", argument, &exec->window) ? 0 : -1;
    case KEY_ENCODING:
        exec->encoding = argument;
        break;
    case KEY_SECCOMP:
        guestproto_put_name(params, "seccomp", argument);
        break;
    case KEY_NO_NEW_PRIVS:
        guestproto_put_bool(params, "no_new_privs", true);
        break;
    }
    return 0;
}

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

static int on_output(void *context, enum guestproto_channel channel, uint64_t off, const void *data,
                     size_t len) {
    return fd_write_all(channel == GUESTPROTO_STDERR ? STDERR_FILENO : STDOUT_FILENO, data, len);
}

static int on_gap(void *context, enum guestproto_channel channel, uint64_t from, uint64_t to) {
    ctl_complain(context, "%llu bytes of %s are gone", (unsigned long long)(to - from),
                 channel == GUESTPROTO_STDERR ? "stderr" : "stdout");
    return 0;
}

/* Who reads our output has left: we end as any program in a pipeline does. */
static void end_by_sigpipe(void) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

static int run_live(struct ctl *ctl, struct guestproto_params *params, uint64_t window) {
    struct guestproto_exec exec = {
        .context = ctl, .window = window, .output = on_output, .gap = on_gap};
    struct guestproto_reply reply = {0};
    int r = guestproto_exec(ctl->client, params, &exec, &reply), exit_code;

    if (r == -EPIPE && guestproto_error(ctl->client)->err == EPIPE)
        end_by_sigpipe();
    if (r != 0)
        return failed(ctl, r);
    outcome_remark(ctl, &reply.result);
    exit_code = outcome_exit_code(&reply.result);
    guestproto_reply_free(&reply);
    return exit_code;
}

static int run_captured(struct ctl *ctl, struct guestproto_params *params, bool background) {
    struct guestproto_reply reply = {0};
    struct guestproto_bytes tag = {"?", 1};
    int64_t pid = 0;
    int r = guestproto_call(ctl->client, "exec", params, &reply), exit_code = EXIT_DONE;

    if (r != 0)
        return failed(ctl, r);
    if (ctl->json) {
        json_print(&reply.result);
    } else if (background) {
        guestproto_get_int(&reply.result, "pid", &pid);
        guestproto_get_bytes(&reply.result, "tag", &tag);
        printf("%lld\t", (long long)pid);
        human_bytes(stdout, tag);
        putchar('\n');
    } else {
        if (outcome_output(&reply.result) == -EPIPE)
            end_by_sigpipe();
        outcome_remark(ctl, &reply.result);
    }
    if (!background)
        exit_code = outcome_exit_code(&reply.result);
    guestproto_reply_free(&reply);
    return exit_code;
}

/* False: ctl->exit_code says how to end. */
static bool parse(struct ctl *ctl, struct exec_options *exec, struct guestproto_params *params) {
    const char *argument;
    int key;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return false;
        if (take_option(ctl, key, argument, exec, params) < 0) {
            ctl->exit_code = EXIT_OWN;
            return false;
        }
    }
    return options_operands(ctl, 1, -1);
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
    if (!exec->background && !exec->capture && !ctl->json)
        return run_live(ctl, params, exec->window);
    /* What is kept for a later `wait --output` has its encoding chosen there. */
    if (ctl->json)
        guestproto_put_text(params, "encoding", exec->encoding);
    else if (!exec->background)
        guestproto_put_text(params, "encoding", "raw");
    return run_captured(ctl, params, exec->background);
}

static int run(struct ctl *ctl) {
    struct exec_options exec = {.envs = calloc((size_t)ctl->argc, sizeof(*exec.envs))};
    struct guestproto_params *params = ctl_params();
    int exit_code;

    if (!exec.envs)
        exit_code = ctl_complain(ctl, "no memory");
    else
        exit_code = parse(ctl, &exec, params) ? start(ctl, &exec, params) : ctl->exit_code;
    guestproto_params_free(params);
    free(exec.envs);
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
        "is looked up in its own PATH, and reads nothing: its stdin is /dev/null.\n"
        "\n"
        "Ctrl-C ends the program and all its descendants; a second one ends guestctl alone.\n"
        "With --json the output is captured and printed with the result.",
    .options = options,
    .after =
        "Exit status\n"
        "  the program's own; 128+N when signal N ended it; 124 when its time was over; 125 when\n"
        "  guestctl or the capsule failed; 126 when it can't be run; 127 when there is no such\n"
        "  program.\n"
        "\n"
        "Examples\n"
        "  guestctl exec -- uname -a\n"
        "  guestctl exec -w /workspace -e DEBUG=1 -u 1000 --timeout 60 -- make test\n"
        "  guestctl exec -b --tag web -- python3 -m http.server 8000\n"
        "  guestctl --json exec -- python3 -c 'print(\"hello\")'",
    .options_first = true,
    .run = run,
};
