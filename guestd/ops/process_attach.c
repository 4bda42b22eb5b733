/*
 * process.attach: reads what a process writes, from any offset that is still kept, while it runs
 * and after. Any number do; none makes it wait. PROTOCOL.md, "Live processes".
 */
#include <errno.h>
#include <string.h>

#include "agent/call.h"
#include "agent/job.h"
#include "agent/outlet.h"
#include "proto/limits.h"
#include "proto/message.h"

struct attach_params {
    uint64_t present;
    int64_t pid;
    const char *tag;
    msgpack_object from; /* a name, or a map of offsets */
    int64_t window;
};

static const struct field fields[] = {
    FIELD(attach_params, pid, INT, .min = 1, .max = INT32_MAX),
    FIELD(attach_params, tag, STR),
    FIELD(attach_params, from, ANY),
    FIELD(attach_params, window, INT, .min = 0, .max = MAX_WINDOW, .otherwise.i = DEFAULT_WINDOW),
    FIELDS_END,
};

enum { FROM_BIT = 2 }; /* of `from` in the table */

/* In its call's arena. */
struct attach {
    struct call *call;
    struct job_watch watch;
    struct outlet outlet;
};

/* ── where to begin ── */

static int wrong(struct failure *failure, const char *channel, const char *what) {
    char field[sizeof(failure->field)];

    snprintf(field, sizeof(field), "from%s%s", channel ? "." : "", channel ? channel : "");
    return failure_set(failure, STATUS_INVALID_REQUEST, 0, field, "%s: %s", field, what);
}

static bool is(const msgpack_object *object, const char *text) {
    return object->type == MSGPACK_OBJECT_STR && object->via.str.size == strlen(text) &&
           memcmp(object->via.str.ptr, text, strlen(text)) == 0;
}

/* The job's channel of that name; -1: it has none. */
static int channel_named(const struct job *job, const msgpack_object *name) {
    for (unsigned c = 0; c < 2; c++)
        if (job_channel(job, c) && is(name, job_channel(job, c)))
            return (int)c;
    return -1;
}

static int read_offset(const struct job *job, const msgpack_object_kv *pair, uint64_t from[2],
                       unsigned *given, struct failure *failure) {
    int c = channel_named(job, &pair->key);
    char name[32];

    if (pair->key.type != MSGPACK_OBJECT_STR ||
        !utf8_valid(pair->key.via.str.ptr, pair->key.via.str.size))
        return wrong(failure, NULL, "its keys must be str of valid UTF-8");
    snprintf(name, sizeof(name), "%.*s",
             (int)(pair->key.via.str.size < 32 ? pair->key.via.str.size : 31),
             pair->key.via.str.size ? pair->key.via.str.ptr : "");
    if (c < 0)
        return wrong(failure, name, "the process has no such channel");
    if (*given & 1u << c)
        return wrong(failure, name, "is given twice");
    *given |= 1u << c;
    if (pair->val.type == MSGPACK_OBJECT_NIL)
        return 0;
    if (pair->val.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return wrong(failure, name, "must be an integer, not negative");
    if (pair->val.via.u64 > job_end(job, (unsigned)c))
        return wrong(failure, name, "is above the end of what was written");
    from[c] = pair->val.via.u64;
    return 0;
}

/* From 0 what is kept no more is told as a gap: that is `start`. */
static int read_from(const struct job *job, const msgpack_object *wanted, uint64_t from[2],
                     struct failure *failure) {
    unsigned given = 0;
    int r = 0;

    if (is(wanted, "start"))
        return 0;
    if (is(wanted, "now")) {
        for (unsigned c = 0; c < 2; c++)
            from[c] = job_end(job, c);
        return 0;
    }
    if (wanted->type != MSGPACK_OBJECT_MAP)
        return wrong(failure, NULL, "must be start, now, or a map of offsets");
    for (uint32_t i = 0; i < wanted->via.map.size && r == 0; i++)
        r = read_offset(job, &wanted->via.map.ptr[i], from, &given, failure);
    return r;
}

/* ── reading ── */

static struct attach *attach_of(struct job_watch *watch) {
    return (struct attach *)((char *)watch - offsetof(struct attach, watch));
}

static void finish(struct attach *attach) {
    call_on_cancel(attach->call, NULL, NULL);
    outlet_stop(&attach->outlet);
    job_unwatch(&attach->watch);
}

static void on_streamed(struct outlet *outlet) {
    struct attach *attach = (struct attach *)((char *)outlet - offsetof(struct attach, outlet));
    struct call *call = call_ref(attach->call);

    call_on_cancel(call, NULL, NULL);
    job_reply_record(outlet->job, call);
    finish(attach);
    call_unref(call);
}

static void on_output(struct job_watch *watch) {
    outlet_output(&attach_of(watch)->outlet);
}

static void on_exited(struct job_watch *watch) {
    outlet_exited(&attach_of(watch)->outlet);
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    finish(arg);
    if (reason == CANCEL_BY_CLIENT)
        call_fail(call, STATUS_CANCELLED, 0, NULL, "cancelled");
}

/* Where it begins is told: who asked for `now` and loses the connection at once can still go on. */
static void send_started(struct call *call, const struct job *job, const uint64_t from[2]) {
    uint64_t taken;
    bool open = job_stdin_taken(job, &taken);
    msgpack_packer *pk = call_event_begin(call, "started", open ? 4 : 3);

    pack_kv_int(pk, "pid", job_pid(job));
    pack_kv_text(pk, "tag", job_tag(job));
    if (open)
        pack_kv_uint(pk, "stdin", taken);
    pack_text(pk, "from");
    msgpack_pack_map(pk, job_channel(job, 1) ? 2 : 1);
    for (unsigned c = 0; c < 2; c++)
        if (job_channel(job, c))
            pack_kv_uint(pk, job_channel(job, c), from[c]);
    call_event_end(call);
}

static void start(struct attach *attach, struct job *job, const struct outlet_plan *plan) {
    struct call *call = call_ref(attach->call);

    attach->watch = (struct job_watch){.output = on_output, .exited = on_exited};
    job_watch(job, &attach->watch);
    job_attended(job);
    call_on_cancel(call, on_cancel, attach);
    send_started(call, job, plan->from);
    if (!call_answered(call)) /* whatever is sent can find the connection lost */
        outlet_start(&attach->outlet, call, job, plan, on_streamed);
    call_unref(call);
}

static void run(struct call *call, const void *params) {
    const struct attach_params *p = params;
    struct job *job = job_select(call, p->pid, p->tag);
    struct outlet_plan plan = {.window = (uint64_t)p->window};
    struct failure failure = {0};
    struct attach *attach;

    if (!job)
        return;
    if ((p->present & 1u << FROM_BIT) && read_from(job, &p->from, plan.from, &failure)) {
        call_fail_with(call, &failure);
        return;
    }
    attach = arena_alloc(call_arena(call), sizeof(*attach));
    if (!attach) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return;
    }
    attach->call = call;
    start(attach, job, &plan);
}

const struct op op_process_attach = {"process.attach", fields, sizeof(struct attach_params), run,
                                     OP_WHILE_BUSY};
