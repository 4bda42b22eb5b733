#include "agent/dispatch.h"

#include <errno.h>
#include <string.h>

#include "agent/call_private.h"
#include "agent/conn.h"
#include "ops/ops.h"
#include "proto/message.h"

static bool is(struct slice text, const char *name) {
    return text.len == strlen(name) && memcmp(text.data, name, text.len) == 0;
}

static void run(struct call *call, const struct message *message, int flaw) {
    struct agent *agent = call->conn->agent;
    struct failure failure;
    void *params;

    if (flaw) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, flaw == MESSAGE_METHOD ? "method" : "params",
                  flaw == MESSAGE_METHOD ? "method is no str" : "params is no map");
        return;
    }
    call->op = ops_find(message->method);
    if (!call->op) {
        call_fail(call, STATUS_UNSUPPORTED, 0, "method", "no method \"%.*s\"",
                  (int)(message->method.len < 64 ? message->method.len : 64),
                  (const char *)message->method.data);
        return;
    }
    if (agent->stopping && !(call->op->flags & OP_WHILE_BUSY)) {
        call_fail(call, STATUS_BUSY, 0, NULL, "shutting down");
        return;
    }
    params = arena_alloc(&call->arena, call->op->params_size);
    if (!params) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return;
    }
    if (fields_decode(call->op->fields, &message->params, &call->arena, params, &failure) != 0) {
        call_fail_with(call, &failure);
        return;
    }
    call->op->run(call, params);
}

static bool anonymous(const struct message *message, int flaw) {
    const struct op *op = flaw == MESSAGE_METHOD ? NULL : ops_find(message->method);

    return op && (op->flags & OP_ANONYMOUS);
}

static void take_request(struct conn *conn, const struct message *message, int flaw) {
    struct call *call;

    if (call_find(conn, message->msgid)) {
        conn_fail(conn, STATUS_INVALID_REQUEST, "a msgid that is still in flight");
        return;
    }
    if (!conn->authenticated && !anonymous(message, flaw)) {
        conn_fail(conn, STATUS_UNAUTHENTICATED, "hello with the token comes first");
        return;
    }
    call = call_new(conn, message->msgid);
    if (!call) {
        conn_fail(conn, STATUS_INTERNAL, "no memory for a request");
        return;
    }
    if (conn->n_calls > conn->agent->limit[LIMIT_requests])
        call_fail(call, STATUS_LIMIT_EXCEEDED, 0, NULL, "too many requests in flight");
    else if (!call_hold_body(call, conn->body_len))
        call_fail(call, STATUS_LIMIT_EXCEEDED, 0, NULL, "too many bytes of requests in flight");
    else
        run(call, message, flaw);
    call_unref(call);
}

/* ── what a client says about a stream ── */

struct about {
    uint64_t id, bytes;
    struct slice data;
    bool has_id, has_bytes, has_data;
};

/* The few keys of stream notifications, without a copy of the data. False: not of the form. */
static bool read_about(const msgpack_object *params, struct about *ret) {
    for (uint32_t i = 0; i < params->via.map.size; i++) {
        const msgpack_object *key = &params->via.map.ptr[i].key;
        const msgpack_object *value = &params->via.map.ptr[i].val;
        struct slice name;

        if (key->type != MSGPACK_OBJECT_STR)
            return false;
        name = (struct slice){(const uint8_t *)key->via.str.ptr, key->via.str.size};
        if (is(name, "id") && !ret->has_id && value->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
            ret->id = value->via.u64;
            ret->has_id = true;
        } else if (is(name, "bytes") && !ret->has_bytes &&
                   value->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
            ret->bytes = value->via.u64;
            ret->has_bytes = true;
        } else if (is(name, "data") && !ret->has_data && value->type == MSGPACK_OBJECT_BIN) {
            ret->data = (struct slice){(const uint8_t *)value->via.bin.ptr, value->via.bin.size};
            ret->has_data = true;
        } else if (is(name, "data") && !ret->has_data && value->type == MSGPACK_OBJECT_STR) {
            ret->data = (struct slice){(const uint8_t *)value->via.str.ptr, value->via.str.size};
            ret->has_data = true;
        } else {
            return false;
        }
    }
    return ret->has_id;
}

static void take_notification(struct conn *conn, const struct message *message) {
    static const char *const names[] = {"stream.data", "stream.end", "stream.credit",
                                        "stream.cancel"};
    enum { DATA, END, CREDIT, CANCEL, UNKNOWN } kind = DATA;
    struct about about = {0};
    struct call *call;

    if (!conn->authenticated) {
        conn_fail(conn, STATUS_UNAUTHENTICATED, "hello with the token comes first");
        return;
    }
    while (kind < UNKNOWN && !is(message->method, names[kind]))
        kind++;
    if (kind == UNKNOWN) {
        conn_fail(conn, STATUS_INVALID_REQUEST, "an unknown notification");
        return;
    }
    if (!read_about(&message->params, &about) || about.has_data != (kind == DATA) ||
        about.has_bytes != (kind == CREDIT)) {
        conn_fail(conn, STATUS_INVALID_REQUEST, "a stream notification that is not of its form");
        return;
    }
    call = about.id <= UINT32_MAX ? call_find(conn, (uint32_t)about.id) : NULL;
    if (!call) /* answered meanwhile, or never was */
        return;
    call_ref(call);
    if (kind == DATA && !call_take_data(call, about.data, conn->in))
        conn_fail(conn, STATUS_INVALID_REQUEST, "more stream bytes than credited");
    else if (kind == END)
        call_take_end(call);
    else if (kind == CREDIT && !call_take_credit(call, about.bytes))
        conn_fail(conn, STATUS_INVALID_REQUEST, "credit out of range");
    else if (kind == CANCEL)
        call_cancel(call);
    call_unref(call);
}

void dispatch_message(struct conn *conn, const struct message *message, int flaw) {
    switch (message->kind) {
    case MESSAGE_REQUEST:
        take_request(conn, message, flaw);
        return;
    case MESSAGE_NOTIFICATION:
        take_notification(conn, message);
        return;
    case MESSAGE_RESPONSE:
        break;
    }
    conn_fail(conn, STATUS_INVALID_REQUEST, "a response, to nothing that was asked");
}
