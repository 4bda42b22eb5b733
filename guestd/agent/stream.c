/* The two directions of a call's stream: senders that the connection pulls from, receivers that it
 * feeds. */
#include <assert.h>

#include "agent/call_private.h"
#include "agent/conn.h"
#include "proto/message.h"

enum {
    CHUNK = 256 << 10, /* measured best: 64 to 256 KiB */
    BULK = 64 << 10,   /* a frame with as much was not the last */
    DATA_HEAD = 128, /* bytes of a data frame's body around its data, at most; hello's max_frame is
                        at least 4096 */
};

/* ── agent to client ── */

void call_sender_start(struct call *call, struct sender *sender, bool (*pump)(struct sender *),
                       uint64_t window) {
    struct conn *conn = call->conn;

    assert(!call->sender);
    call->streamed = true;
    sender->pump = pump;
    sender->call = call;
    sender->awake = false;
    if (call_answered(call)) /* nobody listens any more: never pumped */
        return;
    if (window > UINT64_MAX - call->credit) {
        conn_fail(conn, STATUS_INVALID_REQUEST, "credit out of range");
        return;
    }
    call->credit += window; /* to what the client may have granted before this began */
    call->sender = sender;
    call_ref(call); /* an open stream holds its call, until the answer */
    if (conn->senders) {
        sender->next = conn->senders;
        sender->prev = conn->senders->prev;
        sender->prev->next = sender;
        sender->next->prev = sender;
    } else {
        conn->senders = sender->prev = sender->next = sender;
    }
    conn->n_senders++;
}

void call_sender_stop(struct call *call) {
    struct sender *sender = call->sender;
    struct conn *conn = call->conn;

    if (!sender)
        return;
    call->sender = NULL;
    sender->awake = false;
    if (sender->next == sender) {
        conn->senders = NULL;
    } else {
        if (conn->senders == sender)
            conn->senders = sender->next;
        sender->prev->next = sender->next;
        sender->next->prev = sender->prev;
    }
    sender->prev = sender->next = NULL;
    conn->n_senders--;
    call_unref(call);
}

struct sender *call_sender(struct call *call) {
    return call->sender;
}

void sender_wake(struct sender *sender) {
    if (!sender->call || sender->call->sender != sender || sender->awake)
        return;
    sender->awake = true;
    conn_flush(sender->call->conn);
}

size_t call_window(struct call *call) {
    uint64_t fits = call->conn->client_frame - DATA_HEAD;
    uint64_t chunk = fits < CHUNK ? fits : CHUNK;

    if (call->swallow || call->answered)
        return 0;
    return (size_t)(call->credit < chunk ? call->credit : chunk);
}

uint64_t call_credit_left(struct call *call) {
    return call->credit;
}

bool call_take_credit(struct call *call, uint64_t bytes) {
    bool fits = bytes <= UINT64_MAX - call->credit;

    if (call->sender && !fits)
        return false;
    call->credit = fits ? call->credit + bytes : UINT64_MAX;
    if (call->sender)
        sender_wake(call->sender);
    return true;
}

static msgpack_packer *head(struct call *call, const char *method, const char *ch, uint32_t pairs) {
    struct out *out = out_new(0);

    if (!out)
        return NULL;
    call->streamed = true;
    assert(!call->out);
    call->out = out;
    msgpack_pack_array(&out->pk, 3);
    msgpack_pack_uint8(&out->pk, MESSAGE_NOTIFICATION);
    pack_text(&out->pk, method);
    msgpack_pack_map(&out->pk, pairs);
    pack_kv_uint(&out->pk, "id", call->msgid);
    pack_kv_text(&out->pk, "ch", ch);
    return &out->pk;
}

void call_send_data(struct call *call, const char *ch, uint64_t off, const void *data, size_t len) {
    msgpack_packer *pk;
    struct out *out;

    if (call->swallow || call->answered)
        return;
    assert(len <= call->credit);
    call->credit -= len;
    pk = head(call, "stream.data", ch, 4);
    if (!pk) {
        conn_fail(call->conn, STATUS_INTERNAL, "no memory for a stream");
        return;
    }
    pack_kv_uint(pk, "off", off);
    pack_text(pk, "data");
    msgpack_pack_bin(pk, len); /* its bytes follow from where they are */
    out = call->out;
    call->out = NULL;
    call->conn->agent->stats.data_bytes += len;
    if (len >= BULK)
        agent_linger(call->conn->agent);
    conn_send_data(call->conn, out, data, len);
}

void call_send_gap(struct call *call, const char *ch, uint64_t from, uint64_t to) {
    msgpack_packer *pk = head(call, "stream.gap", ch, 4);

    call->conn->agent->stats.dropped_bytes += to - from;
    if (pk) {
        pack_kv_uint(pk, "from", from);
        pack_kv_uint(pk, "to", to);
    }
    call_event_end(call);
}

void call_send_end(struct call *call, const char *ch, uint64_t off) {
    msgpack_packer *pk = head(call, "stream.end", ch, 3);

    if (pk)
        pack_kv_uint(pk, "off", off);
    call_event_end(call);
}

/* ── client to agent ── */

void call_receiver_start(struct call *call, struct receiver *receiver) {
    assert(!call->receiver);
    if (call_answered(call))
        return;
    call->receiver = receiver;
    call_ref(call);
    call->granted = call->conn->agent->limit[LIMIT_stream_credit];
}

void call_receiver_stop(struct call *call) {
    if (!call->receiver)
        return;
    call->receiver = NULL;
    call_unref(call);
}

void call_credit(struct call *call, uint64_t bytes) {
    struct out *out;

    if (bytes == 0 || call_answered(call) || !call->receiver)
        return;
    out = out_new(0);
    if (!out) {
        conn_fail(call->conn, STATUS_INTERNAL, "no memory for a stream");
        return;
    }
    call->granted += bytes;
    msgpack_pack_array(&out->pk, 3);
    msgpack_pack_uint8(&out->pk, MESSAGE_NOTIFICATION);
    pack_text(&out->pk, "stream.credit");
    msgpack_pack_map(&out->pk, 2);
    pack_kv_uint(&out->pk, "id", call->msgid);
    pack_kv_uint(&out->pk, "bytes", bytes);
    conn_send(call->conn, CONN_URGENT, out);
}

bool call_take_data(struct call *call, struct slice data, struct buffer *owner) {
    if (!call->receiver || call->ended || data.len > call->granted)
        return false;
    call->granted -= data.len;
    call->receiver->data(call->receiver, data, owner);
    return true;
}

void call_take_end(struct call *call) {
    if (!call->receiver || call->ended)
        return;
    call->ended = true;
    call->receiver->end(call->receiver);
}
