/* ps: what guestd has started. */
#include <stdio.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"

static const struct option_row options[] = {
    {'a', "all", NULL, "Also those that have ended and are still remembered.", false},
    {0},
};

/* "running", "exited 3", "SIGKILL", "timed_out". */
static void cell_state(FILE *out, const msgpack_object *record) {
    struct guestproto_bytes text = {"?", 1};
    int64_t code = -1;

    if (guestproto_get_is(record, "state", "running")) {
        fputs("running", out);
    } else if (guestproto_get_is(record, "reason", "exited")) {
        guestproto_get_int(record, "exit_code", &code);
        fprintf(out, "exited %lld", (long long)code);
    } else if (guestproto_get_is(record, "reason", "signaled") &&
               guestproto_get_bytes(record, "signal", &text)) {
        human_bytes(out, text);
    } else {
        guestproto_get_bytes(record, "reason", &text);
        human_bytes(out, text);
    }
}

/* How long it has run, by the guest's clock: ours may be minutes off. */
static void cell_time(FILE *out, const msgpack_object *record, double now) {
    double started, ms;
    char text[HUMAN_TEXT];

    if (guestproto_get_number(record, "duration_ms", &ms) && ms >= 0)
        fputs(human_duration(ms / 1000, text), out);
    else if (guestproto_get_number(record, "started_at", &started) && now >= started)
        fputs(human_duration(now - started, text), out);
    else
        fputs("-", out);
}

static void cell_command(FILE *out, const msgpack_object *record) {
    const msgpack_object *args = guestproto_get(record, "args");
    struct guestproto_bytes text;

    if (guestproto_get_bytes(record, "cmd", &text))
        human_bytes(out, text);
    if (!args || args->type != MSGPACK_OBJECT_ARRAY)
        return;
    for (uint32_t i = 0; i < args->via.array.size; i++) {
        const msgpack_object *arg = &args->via.array.ptr[i];

        fputc(' ', out);
        if (arg->type == MSGPACK_OBJECT_STR)
            human_bytes(out, (struct guestproto_bytes){arg->via.str.ptr, arg->via.str.size});
        else if (arg->type == MSGPACK_OBJECT_BIN)
            human_bytes(out, (struct guestproto_bytes){arg->via.bin.ptr, arg->via.bin.size});
    }
}

static void add_row(struct table *table, const msgpack_object *record, double now) {
    struct guestproto_bytes text = {"-", 1};
    int64_t pid = 0;

    guestproto_get_int(record, "pid", &pid);
    fprintf(table_cell(table), "%lld", (long long)pid);
    guestproto_get_bytes(record, "tag", &text);
    human_bytes(table_cell(table), text);
    text = (struct guestproto_bytes){"-", 1};
    guestproto_get_bytes(record, "user", &text);
    human_bytes(table_cell(table), text);
    cell_state(table_cell(table), record);
    cell_time(table_cell(table), record, now);
    cell_command(table_cell(table), record);
}

static void print_table(const msgpack_object *result, double now) {
    static const char *const titles[] = {"PID", "TAG", "USER", "STATE", "TIME", "COMMAND"};
    const msgpack_object *processes = guestproto_get(result, "processes");
    struct table table;

    table_init(&table, 6, 1u << 0 | 1u << 4);
    for (size_t i = 0; i < 6; i++)
        table_text(&table, titles[i]);
    if (processes && processes->type == MSGPACK_OBJECT_ARRAY)
        for (uint32_t i = 0; i < processes->via.array.size; i++)
            add_row(&table, &processes->via.array.ptr[i], now);
    table_deinit(&table);
}

/* The guest's clock in unix seconds; looking doesn't count as using the capsule. */
static int ask_time(struct ctl *ctl, double *ret_now) {
    struct guestproto_reply reply = {0};
    struct guestproto_params *params = ctl_params();
    int64_t ns = 0;
    int r;

    guestproto_put_bool(params, "touch", false);
    r = guestproto_call(ctl->client, "ping", params, &reply);
    guestproto_params_free(params);
    if (r == 0)
        guestproto_get_int(&reply.result, "time_unix_ns", &ns);
    *ret_now = (double)ns / 1e9;
    guestproto_reply_free(&reply);
    return r;
}

static int run(struct ctl *ctl) {
    struct guestproto_reply reply = {0};
    struct guestproto_params *params;
    const char *argument;
    bool all = false;
    double now = 0;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        all = true;
    }
    r = ctl_begin(ctl, 0, 0);
    if (r != 0)
        return r;
    params = ctl_params();
    guestproto_put_bool(params, "exited", all);
    r = guestproto_call(ctl->client, "process.list", params, &reply);
    guestproto_params_free(params);
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    else if ((r = ask_time(ctl, &now)) == 0)
        print_table(&reply.result, now);
    guestproto_reply_free(&reply);
    return r == 0 ? EXIT_DONE : ctl_failed(ctl, r);
}

const struct command cmd_ps = {
    .name = "ps",
    .group = GROUP_PROCESSES,
    .usage = "[-a]",
    .summary = "list the programs that guestd has started",
    .text =
        "One line a program: its pid in the capsule, its tag, whom it runs as, how it fares, how\n"
        "long it has run or ran, and its command line.",
    .options = options,
    .run = run,
};
