/* The reading half: bytes into frames, frames into messages, messages to dispatch. */
#include "agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/buffer.h"
#include "agent/dispatch.h"
#include "proto/frame.h"
#include "proto/message.h"

enum {
    SMALL = 16 << 10,
    TURN_NS = 250000, /* spent on one connection's frames before others get their turn */
};

/* Makes sure that a whole frame of `need` bytes fits behind in_at, in a buffer that nobody else
 * reads. */
static int make_room(struct conn *conn, size_t need) {
    size_t waiting = conn->in_len - conn->in_at;
    struct buffer *fresh;
    size_t cap;

    if (conn->in && conn->in->refs == 1 && waiting == 0) {
        conn->in_at = conn->in_len = 0;
        /* A large buffer goes back once the large frames stop. */
        if (conn->in->cap > SMALL && conn->in_hint == 0) {
            buffer_unref(conn->in);
            conn->in = NULL;
        }
    }
    /* A frame that has begun is read where it is; the next one begins where a good read fits. */
    if (conn->in && conn->in_at + need <= conn->in->cap &&
        (waiting >= FRAME_HEADER || conn->in->cap - conn->in_len >= SMALL / 4))
        return 0;
    if (conn->in && conn->in->refs == 1 && need <= conn->in->cap) {
        memmove(conn->in->data, conn->in->data + conn->in_at, waiting);
        conn->in_at = 0;
        conn->in_len = waiting;
        return 0;
    }
    cap = need > conn->in_hint ? need : conn->in_hint;
    fresh = buffer_new(cap > SMALL ? cap : SMALL);
    if (!fresh)
        return -ENOMEM;
    if (conn->in && waiting > 0)
        memcpy(fresh->data, conn->in->data + conn->in_at, waiting);
    buffer_unref(conn->in);
    conn->in = fresh;
    conn->in_at = 0;
    conn->in_len = waiting;
    return 0;
}

static void fail_decode(struct conn *conn, int error) {
    switch (error) {
    case MESSAGE_TRUNCATED:
        conn_fail(conn, STATUS_INVALID_REQUEST, "a body that is not one whole MessagePack value");
        return;
    case MESSAGE_NESTED:
        conn_fail(conn, STATUS_INVALID_REQUEST, "a body nested too deeply");
        return;
    case MESSAGE_OBJECTS:
        conn_fail(conn, STATUS_TOO_LARGE, "a body of too many values");
        return;
    case -ENOMEM:
        conn_fail(conn, STATUS_INTERNAL, "no memory for a frame");
        return;
    default:
        conn_fail(conn, STATUS_INVALID_REQUEST, "a body of no known shape");
    }
}

static void take_body(struct conn *conn, struct slice body) {
    struct message message;
    int r;

    conn->agent->stats.frames_in++;
    r = message_decode(body, (unsigned)conn->agent->limit[LIMIT_nesting], &message);
    if (r != 0 && r != MESSAGE_METHOD && r != MESSAGE_PARAMS) {
        fail_decode(conn, r);
        return;
    }
    conn->body_len = body.len;
    dispatch_message(conn, &message, r);
    message_deinit(&message);
}

/* Whether nothing of its turn is left. */
static bool spent(struct conn *conn) {
    uint64_t now_ms = uv_now(&conn->agent->loop);

    if (conn->spent_at_ms != now_ms)
        conn->spent_ns = 0;
    conn->spent_at_ms = now_ms;
    return conn->spent_ns >= TURN_NS;
}

/* Parses all whole frames in the buffer, while the connection takes them and its turn lasts. */
static void parse(struct conn *conn) {
    bool over = spent(conn);
    uint64_t begun_ns = uv_hrtime() - conn->spent_ns;
    size_t need = FRAME_HEADER;

    conn->parsing = true;
    while (conn->state == CONN_OPEN && !conn_full(conn) && !over) {
        struct slice body;
        int r = 0;

        if (conn->in)
            r = frame_pop(conn->in->data + conn->in_at, conn->in_len - conn->in_at,
                          conn->agent->limit[LIMIT_max_frame], &body, &need);
        if (r == 0)
            break;
        if (r < 0) {
            conn_fail(conn, STATUS_TOO_LARGE, "a frame over max_frame");
            break;
        }
        conn->in_at += FRAME_HEADER + body.len;
        conn->in_hint = body.len > SMALL ? FRAME_HEADER + body.len : 0;
        take_body(conn, body);
        need = FRAME_HEADER;
        conn->spent_ns = uv_hrtime() - begun_ns;
        over = conn->spent_ns >= TURN_NS;
    }
    conn->parsing = false;
    if (conn->state != CONN_OPEN)
        return;
    if (over)
        conn_go_on_later(conn);
    if (over || conn_full(conn))
        conn_read_stop(conn);
    else if (make_room(conn, need) < 0)
        conn_fail(conn, STATUS_INTERNAL, "no memory for a frame");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret) {
    static uint8_t rubbish[4096];
    struct conn *conn = handle->data;

    if (conn->state != CONN_OPEN || !conn->in) {
        *ret = uv_buf_init((char *)rubbish, sizeof rubbish);
        return;
    }
    *ret = uv_buf_init((char *)conn->in->data + conn->in_len,
                       (unsigned)(conn->in->cap - conn->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct conn *conn = stream->data;

    if (n == 0)
        return;
    if (n < 0) {
        conn_close(conn);
        return;
    }
    if (conn->state != CONN_OPEN)
        return;
    conn_ref(conn);
    conn->in_len += (size_t)n;
    parse(conn);
    conn_unref(conn);
}

int conn_read_start(struct conn *conn) {
    int r;

    if (conn->reading)
        return 0;
    if (conn->state == CONN_OPEN && make_room(conn, FRAME_HEADER) < 0)
        return -ENOMEM;
    r = uv_read_start((uv_stream_t *)&conn->stream, on_alloc, on_read);
    conn->reading = r == 0;
    return r;
}

void conn_read_stop(struct conn *conn) {
    if (!conn->reading)
        return;
    uv_read_stop((uv_stream_t *)&conn->stream);
    conn->reading = false;
}

void conn_read_resume(struct conn *conn) {
    if (conn->state != CONN_OPEN || conn->parsing || conn->reading || conn_full(conn) ||
        spent(conn))
        return;
    parse(conn);
    if (conn->state == CONN_OPEN && !conn_full(conn) && !spent(conn) && conn_read_start(conn) < 0)
        conn_close(conn);
}
