/* exec: run a program, in the foreground until it exits or in the background. PROTOCOL.md,
 * "Processes". */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "ops/exec_private.h"
#include "sandbox/profile.h"

#define CMD_MAX 4096
#define TIMEOUT_S 30
#define CAPTURED_OUTPUT (16u << 20)
#define OTHER_OUTPUT (1u << 20)
#define MS_MAX 4e15 /* no deadline needs more, and it fits every type */

enum overflow { OVERFLOW_HEAD, OVERFLOW_TAIL, OVERFLOW_KILL };
static const char *const overflows[] = {"head", "tail", "kill", NULL};

enum on_full { ON_FULL_BLOCK, ON_FULL_DROP };
static const char *const on_fulls[] = {"block", "drop", NULL};

static const struct field pty_fields[] = {
    FIELD(exec_pty, rows, INT, .required = true, .min = 1, .max = TERMINAL_MOST),
    FIELD(exec_pty, cols, INT, .required = true, .min = 1, .max = TERMINAL_MOST),
    FIELD(exec_pty, term, STR, .max_len = 256, .otherwise.s = "xterm-256color"),
    FIELDS_END,
};

static const struct field fields[] = {
    FIELD(exec_params, cmd, NAME, .required = true),
    FIELD(exec_params, args, NAMES),
    FIELD(exec_params, envs, ENVS),
    FIELD(exec_params, cwd, PATH),
    FIELD(exec_params, user, STR),
    FIELD(exec_params, timeout, NUMBER, .otherwise.d = -1),
    FIELD(exec_params, background, BOOL),
    FIELD(exec_params, tag, STR),
    /* a name of its own: stdin is a macro */
    {.name = "stdin", .type = FIELD_TYPE_BYTES, .offset = offsetof(struct exec_params, input)},
    FIELD(exec_params, stdin_open, BOOL),
    FIELD(exec_params, stream, BOOL),
    FIELD(exec_params, window, INT, .min = 0, .max = MAX_WINDOW, .otherwise.i = -1),
    FIELD(exec_params, encoding, CHOICE, .choices = encoding_names,
          .otherwise.choice = ENCODING_AUTO),
    FIELD(exec_params, max_output, INT, .min = 1, .max = INT64_MAX),
    FIELD(exec_params, overflow, CHOICE, .choices = overflows, .otherwise.choice = -1),
    FIELD(exec_params, on_full, CHOICE, .choices = on_fulls, .otherwise.choice = -1),
    FIELD(exec_params, kill_grace, NUMBER, .otherwise.d = 2),
    FIELD(exec_params, kill_rest, BOOL),
    FIELD(exec_params, seccomp, STR),
    FIELD(exec_params, no_new_privs, BOOL),
    FIELD(exec_params, pty, MAP, .fields = pty_fields),
    FIELD(exec_params, limits, MAP, .fields = exec_limits_fields),
    FIELD(exec_params, key, STR, .max_len = 256),
    FIELDS_END,
};

static bool given(const struct exec_params *p, const char *name) {
    unsigned i = 0;

    while (strcmp(fields[i].name, name) != 0)
        i++;
    return p->present >> i & 1;
}

static bool streams(const struct exec_params *p) {
    return p->stream || (p->pty.rows > 0 && !p->background);
}

/* ── what doesn't go together ── */

static int wrong(struct failure *failure, const char *field, const char *message) {
    return failure_set(failure, STATUS_INVALID_REQUEST, 0, field, "%s", message);
}

static int check(const struct exec_params *p, struct failure *failure) {
    size_t cmd_len = strlen(p->cmd);

    if (cmd_len == 0 || cmd_len > CMD_MAX)
        return wrong(failure, "cmd", "cmd has 1 to 4096 bytes");
    if (p->stdin_open && p->input.data)
        return wrong(failure, "stdin", "stdin is the whole of it: it can't stay open");
    if (p->stream && p->background)
        return wrong(failure, "stream", "only a foreground process is streamed");
    if (p->pty.rows && !p->background && !p->stream && given(p, "stream"))
        return wrong(failure, "stream", "a terminal in the foreground is streamed");
    if (p->pty.rows && p->input.data)
        return wrong(failure, "stdin", "a terminal's input is typed: process.input, stream.data");
    if (p->window >= 0 && !streams(p))
        return wrong(failure, "window", "window is of a stream");
    if (p->overflow >= 0 && streams(p))
        return wrong(failure, "overflow", "overflow is of captured output; a stream has on_full");
    if (p->on_full == ON_FULL_BLOCK && !streams(p))
        return wrong(failure, "on_full", "only a stream can make its process wait");
    if (p->on_full == ON_FULL_DROP && !streams(p) && !p->background)
        return wrong(failure, "on_full", "on_full is of a stream; captured output has overflow");
    return 0;
}

/* ── defaults ── */

static uint64_t to_ms(double seconds) {
    double ms = seconds * 1000;

    /* Rounded up: 0 would mean something else. */
    return ms < MS_MAX ? (uint64_t)ms + ((double)(uint64_t)ms < ms) : (uint64_t)MS_MAX;
}

static enum store_mode store_mode(const struct exec_params *p) {
    if (streams(p))
        return p->on_full == ON_FULL_DROP ? STORE_DROP : STORE_BLOCK;
    switch (p->overflow) {
    case OVERFLOW_HEAD:
        return STORE_HEAD;
    case OVERFLOW_TAIL:
        return STORE_DROP;
    case OVERFLOW_KILL:
        return STORE_KILL;
    default:
        return p->background ? STORE_DROP : STORE_HEAD;
    }
}

/* A captured result has to fit into one frame; what was asked for is refused before anything runs,
 * a default is lowered. */
static int max_output(struct call *call, const struct exec_params *p, uint64_t *ret,
                      struct failure *failure) {
    bool captured = !streams(p) && !p->background;
    uint64_t most = call_agent(call)->limit[LIMIT_max_output];
    uint64_t wanted = p->max_output ? (uint64_t)p->max_output
                      : captured    ? CAPTURED_OUTPUT
                                    : OTHER_OUTPUT;

    if (p->max_output && wanted > most)
        return failure_set(failure, STATUS_TOO_LARGE, 0, "max_output", "max_output is at most %llu",
                           (unsigned long long)most);
    if (captured) {
        uint64_t fits = job_output_fits(call, (enum encoding)p->encoding);

        if (fits == 0 || (p->max_output && wanted > fits))
            return failure_set(
                failure, STATUS_TOO_LARGE, 0, "max_output",
                "a result that fits the client's max_frame has at most %llu bytes of a stream",
                (unsigned long long)fits);
        most = fits < most ? fits : most;
    }
    if (most > call_agent(call)->limit[LIMIT_output_total])
        most = call_agent(call)->limit[LIMIT_output_total];
    *ret = wanted < most ? wanted : most;
    return 0;
}

/* Compiled filters are kept: a profile is a handful of names. */
static int filter(const char *name, struct job_order *order, struct failure *failure) {
    static struct kept {
        struct kept *next;
        struct sock_filter *filter;
        size_t n;
        char name[];
    } * kept;
    struct kept *one;
    int r;

    for (one = kept; one; one = one->next)
        if (!strcmp(one->name, name))
            break;
    if (!one) {
        one = malloc(sizeof(*one) + strlen(name) + 1);
        r = one ? profile_compile(name, &one->filter, &one->n) : -ENOMEM;
        if (r < 0) {
            free(one);
            return r == -ENOENT ? wrong(failure, "seccomp", "no such profile; hello lists them")
                                : failure_set(failure, status_from_errno(r), -r, "seccomp", "%s",
                                              strerror(-r));
        }
        strcpy(one->name, name);
        one->next = kept;
        kept = one;
    }
    order->filter = one->filter;
    order->n_filter = one->n;
    return 0;
}

static void fill(struct exec *exec) {
    const struct exec_params *p = exec->params;
    bool captured = !streams(p) && !p->background;

    exec->order = (struct job_order){
        .cmd = p->cmd,
        .args = &p->args,
        .envs = &p->envs,
        .cwd = p->cwd,
        .tag = p->tag,
        .input = p->input,
        .background = p->background,
        .rows = (uint16_t)p->pty.rows,
        .cols = (uint16_t)p->pty.cols,
        .term = p->pty.term,
        .stream = streams(p),
        .kill_rest = p->kill_rest,
        .no_new_privs = p->no_new_privs,
        .stdin_open = p->stdin_open || p->pty.rows,
        .timeout_ms = p->timeout >= 0 ? to_ms(p->timeout)
                      : captured      ? TIMEOUT_S * 1000
                                      : 0,
        .grace_ms = p->kill_grace < UINT32_MAX / 1000 ? (uint32_t)to_ms(p->kill_grace) : UINT32_MAX,
        .mode = store_mode(p),
        .encoding = (enum encoding)p->encoding,
        .key = p->key,
        .digest = exec->digest,
    };
}

/* What can be wrong with a run that is to begin. */
static int prepare(struct exec *exec, struct failure *failure) {
    const struct exec_params *p = exec->params;
    int r = max_output(exec->call, p, &exec->order.max_output, failure);

    if (r == 0)
        r = exec_limits_order(&p->limits, call_agent(exec->call)->hello.controllers, &exec->order,
                              failure);
    if (r == 0 && p->seccomp)
        r = filter(p->seccomp, &exec->order, failure);
    return r;
}

static void run(struct call *call, const void *params) {
    struct exec *exec = arena_alloc(call_arena(call), sizeof(*exec));
    struct failure failure = {0};

    if (!exec) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return;
    }
    exec->call = call;
    exec->params = params;
    if (check(exec->params, &failure)) {
        call_fail_with(call, &failure);
        return;
    }
    if (exec->params->key && !exec_key_read(exec, fields))
        return;
    fill(exec);
    if (exec->order.stdin_open && !exec->order.background)
        inlet_start(&exec->inlet, call);
    if (exec->params->key && exec_key_join(exec))
        return;
    if (prepare(exec, &failure))
        call_fail_with(call, &failure);
    else
        exec_find_user(exec);
}

const struct op op_exec = {"exec", fields, sizeof(struct exec_params), run, 0};
