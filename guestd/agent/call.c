#include "agent/call.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/call_private.h"
#include "agent/conn.h"
#include "agent/log.h"
#include "proto/message.h"

enum { ERROR_MAX = 1024 }; /* bytes that an error without data can have */

enum { SMALL_BODY = 4 << 10 }; /* what `requests` bounds well enough */

struct call *call_new(struct conn *conn, uint32_t msgid) {
    struct call *call = calloc(1, sizeof *call);

    if (!call)
        return NULL;
    call->refs = 1;
    call->conn = conn_ref(conn);
    call->msgid = msgid;
    call->next = conn->calls;
    if (call->next)
        call->next->prev = call;
    conn->calls = call;
    conn->n_calls++;
    return call;
}

bool call_hold_body(struct call *call, size_t len) {
    struct conn *conn = call->conn;
    struct agent *agent = conn->agent;

    if (len <= SMALL_BODY)
        return true;
    if (conn->held + len > agent->limit[LIMIT_queue_connection] ||
        agent->held + len > agent->limit[LIMIT_queue_total])
        return false;
    call->held = len;
    conn->held += len;
    agent->held += len;
    return true;
}

struct call *call_find(struct conn *conn, uint32_t msgid) {
    for (struct call *call = conn->calls; call; call = call->next)
        if (call->msgid == msgid)
            return call;
    return NULL;
}

static void later_unlink(struct call *call) {
    struct conn *conn = call->conn;
    struct call **at = &conn->later;

    while (*at != call)
        at = &(*at)->later.next;
    *at = call->later.next;
    if (conn->later_last == &call->later.next)
        conn->later_last = at;
    call->later.reply = NULL;
}

/* Lost or cancelled before its turn came: the reference goes with it. */
static void later_drop(struct call *call) {
    if (!call->later.reply)
        return;
    later_unlink(call);
    if (call->later.drop)
        call->later.drop(call, call->later.arg);
    call_unref(call);
}

/* From here on the client may use the msgid again, and what it still sends for it is dropped. */
static void leave(struct call *call) {
    struct conn *conn = call->conn;

    if (call->prev)
        call->prev->next = call->next;
    else
        conn->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
    call->prev = call->next = NULL;
    conn->n_calls--;
    later_drop(call);
    call_sender_stop(call);
    call_receiver_stop(call);
}

struct call *call_ref(struct call *call) {
    call->refs++;
    return call;
}

void call_unref(struct call *call) {
    if (--call->refs > 0)
        return;
    if (!call->answered && !call->swallow) {
        call->refs = 1;
        log_error("%s was let go without an answer", call->op ? call->op->name : "a request");
        call_fail(call, STATUS_INTERNAL, 0, NULL, "the operation ended without an answer");
    }
    assert(!call->works);
    call->conn->held -= call->held;
    call->conn->agent->held -= call->held;
    out_free(call->out);
    arena_deinit(&call->arena);
    conn_unref(call->conn);
    free(call);
}

struct arena *call_arena(struct call *call) {
    return &call->arena;
}

uv_loop_t *call_loop(struct call *call) {
    return &call->conn->agent->loop;
}

const struct op *call_op(struct call *call) {
    return call->op;
}

struct agent *call_agent(struct call *call) {
    return call->conn->agent;
}

uint64_t call_client_frame(struct call *call) {
    return call->conn->client_frame;
}

uint64_t call_answer_max(struct call *call) {
    uint64_t frame = call->conn->client_frame;
    uint64_t queue = call->conn->agent->limit[LIMIT_queue_total];

    return frame < queue ? frame : queue;
}

bool call_full(struct call *call) {
    return conn_full(call->conn);
}

const char *call_peer(struct call *call) {
    return call->conn->name;
}

bool call_authenticate(struct call *call, uint64_t client_frame) {
    call->conn->client_frame = client_frame;
    return conn_authenticate(call->conn);
}

void call_refuse(struct call *call, enum status code, const char *message) {
    conn_fail(call->conn, code, message);
}

/* ── the answer ── */

static int throw_away(void *data, const char *bytes, size_t len) {
    return -1;
}

/* A packer for one frame; where memory is short, one that throws away (call->out stays NULL). */
static msgpack_packer *begin(struct call *call) {
    static msgpack_packer sink;

    assert(!call->out);
    call->out = out_new(0);
    if (call->out)
        return &call->out->pk;
    msgpack_packer_init(&sink, NULL, throw_away);
    return &sink;
}

static struct out *take(struct call *call) {
    struct out *out = call->out;

    call->out = NULL;
    return out && out->failed ? out_free(out) : out;
}

static void send_answer(struct call *call) {
    struct out *out = take(call);

    if (call->swallow) {
        call->answered = true;
        out_free(out);
        return;
    }
    if (out && out_body(out) > call_answer_max(call) && out_body(out) > ERROR_MAX) {
        out_free(out);
        call_fail(call, STATUS_TOO_LARGE, EMSGSIZE, NULL,
                  "the result is over what the client takes, or what may be queued");
        return;
    }
    call->answered = true;
    call_ref(call);
    leave(call);
    if (out)
        conn_send(call->conn, call->streamed ? CONN_ORDERED : CONN_URGENT, out);
    else /* not even an error fits into memory */
        conn_fail(call->conn, STATUS_INTERNAL, "no memory for an answer");
    call_unref(call);
}

msgpack_packer *call_reply_begin(struct call *call, uint32_t pairs) {
    msgpack_packer *pk;

    assert(call->swallow || !call->answered);
    pk = begin(call);
    msgpack_pack_array(pk, 4);
    msgpack_pack_uint8(pk, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, call->msgid);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, pairs);
    return pk;
}

void call_reply_end(struct call *call) {
    if (call->out && call->out->failed && !call->swallow) {
        call->out = out_free(call->out);
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the result");
        return;
    }
    send_answer(call);
}

void call_reply_later(struct call *call, size_t about, call_reply_fn *reply, call_reply_fn *drop,
                      void *arg) {
    struct conn *conn = call->conn;

    assert(!call->later.reply);
    if (call_answered(call)) {
        if (drop)
            drop(call, arg);
        return;
    }
    call->later.reply = reply;
    call->later.drop = drop;
    call->later.arg = arg;
    call->later.about = about;
    call->later.next = NULL;
    *conn->later_last = call_ref(call);
    conn->later_last = &call->later.next;
    conn_flush(conn);
}

void call_later_run(struct call *call) {
    call_reply_fn *reply = call->later.reply;

    later_unlink(call);
    reply(call, call->later.arg);
    call_unref(call);
}

void call_reply_empty(struct call *call) {
    call_reply_begin(call, 0);
    call_reply_end(call);
}

void call_fail_data(struct call *call, const struct failure *failure, struct slice data) {
    uint32_t pairs = 2 + (failure->err != 0) + (failure->field[0] != 0) + (data.data != NULL);
    msgpack_packer *pk;

    assert(call->swallow || !call->answered);
    pk = begin(call);
    msgpack_pack_array(pk, 4);
    msgpack_pack_uint8(pk, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, call->msgid);
    msgpack_pack_map(pk, pairs);
    pack_kv_text(pk, "code", status_name(failure->code));
    pack_kv_name(pk, "message", failure->message);
    if (failure->err)
        pack_kv_int(pk, "errno", failure->err);
    if (failure->field[0])
        pack_kv_name(pk, "field", failure->field);
    if (data.data) {
        pack_text(pk, "data");
        if (call->out)
            out_append(call->out, data.data, data.len);
    }
    msgpack_pack_nil(pk);
    send_answer(call);
}

void call_fail_with(struct call *call, const struct failure *failure) {
    call_fail_data(call, failure, (struct slice){0});
}

void call_fail(struct call *call, enum status code, int err, const char *field, const char *fmt,
               ...) {
    struct failure failure = {.code = code, .err = err < 0 ? -err : err};
    va_list args;

    if (field)
        snprintf(failure.field, sizeof failure.field, "%s", field);
    va_start(args, fmt);
    vsnprintf(failure.message, sizeof failure.message, fmt, args);
    va_end(args);
    call_fail_with(call, &failure);
}

bool call_answered(struct call *call) {
    return call->answered || call->swallow;
}

/* ── cancellation ── */

void call_on_cancel(struct call *call, call_cancel_fn *hook, void *arg) {
    call->on_cancel = hook;
    call->on_cancel_arg = arg;
}

void call_cancel(struct call *call) {
    call_cancel_fn *hook = call->on_cancel;

    call_ref(call);
    work_cancel_all(call);
    if (hook) {
        call->on_cancel = NULL;
        hook(call, CANCEL_BY_CLIENT, call->on_cancel_arg);
    } else if (!call->answered) {
        call_fail(call, STATUS_CANCELLED, 0, NULL, "cancelled");
        call->swallow = true;
    }
    work_drop_waiting(call);
    call_unref(call);
}

/* Nothing reaches the client from here on: the operation ends what must not go on. */
static void swallow(struct call *call) {
    call_cancel_fn *hook = call->on_cancel;

    call->swallow = true;
    work_cancel_all(call);
    call->on_cancel = NULL;
    if (hook)
        hook(call, CANCEL_CONNECTION_LOST, call->on_cancel_arg);
    work_drop_waiting(call);
}

void call_lost(struct call *call) {
    call_ref(call);
    leave(call);
    swallow(call);
    call_unref(call);
}

void call_give_up(struct call *call, enum status code, const char *message) {
    if (call_answered(call))
        return;
    call_ref(call);
    call_fail(call, code, 0, NULL, "%s", message);
    swallow(call);
    call_unref(call);
}

/* ── events ── */

msgpack_packer *call_event_begin(struct call *call, const char *event, uint32_t pairs) {
    msgpack_packer *pk = begin(call);

    call->streamed = true;
    msgpack_pack_array(pk, 3);
    msgpack_pack_uint8(pk, MESSAGE_NOTIFICATION);
    pack_text(pk, "stream.event");
    msgpack_pack_map(pk, pairs + 2);
    pack_kv_uint(pk, "id", call->msgid);
    pack_kv_text(pk, "event", event);
    return pk;
}

/* Also data, gap and end go through here: what can't be packed must not silently be missing. */
void call_event_end(struct call *call) {
    struct out *out = take(call);

    if (call->swallow || call->answered) {
        out_free(out);
        return;
    }
    if (!out) {
        conn_fail(call->conn, STATUS_INTERNAL, "no memory for a stream");
        return;
    }
    conn_send(call->conn, CONN_ORDERED, out);
}
