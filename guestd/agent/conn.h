/*
 * A connection: the only thing that touches a socket. It reads frames and hands requests to
 * dispatch, and it writes what calls answer, in two lanes: `urgent` (ping, credit, answers without
 * a stream) goes ahead of `ordered` (a stream's events and answer), and stream data is pulled from
 * senders only when both lanes are empty. So at most one chunk of stream data is ever queued, and
 * no stream can starve another.
 *
 * OPEN: reads and writes. DRAINING: a last frame (protocol.error) is on its way, what comes in is
 * thrown away, until the peer closes or a second is over. CLOSING: handles are being closed; freed
 * when the last reference goes.
 *
 * References: one for the open handles, one for each write under way, one for each call.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "agent/out.h"
#include "proto/status.h"

enum conn_state {
    CONN_OPEN,
    CONN_DRAINING,
    CONN_CLOSING,
};

enum conn_lane {
    CONN_URGENT,
    CONN_ORDERED,
};

struct conn {
    struct agent *agent;
    struct conn *prev, *next; /* in agent->conns */
    uint32_t refs;
    enum conn_state state;
    char name[48]; /* of the peer, for the log */
    bool authenticated;
    uint64_t client_frame; /* largest body the client takes */

    uv_pipe_t stream; /* a unix, tcp or vsock socket: libuv treats them alike once they are open */
    uv_timer_t timer; /* hello's deadline, then the stall's, then draining's */
    uint8_t handles;  /* still open */

    struct buffer *in; /* bytes [in_at, in_len) are not parsed yet */
    size_t in_at, in_len;
    size_t in_hint; /* the last large frame's size: the next buffer fits one like it */
    bool reading;
    bool parsing;                   /* guards against parsing again from within an operation */
    uint64_t spent_ns, spent_at_ms; /* on what it sent, in that round of the loop */

    struct call *calls; /* in flight, newest first */
    uint32_t n_calls;
    size_t body_len; /* of the frame that is being dispatched */
    uint64_t held;   /* bytes of large requests in flight */

    struct out_queue lane[2];
    struct out *writing; /* its rest waits in libuv for the socket */
    uv_write_t write;
    size_t stall_left; /* bytes that waited at the timer's last look */
    uint64_t stall_since_ms;
    bool flushing;
    bool again; /* in agent->again: used up a turn, or waits for room in queue_total */
    struct conn *again_next;
    struct call *later, **later_last; /* large answers that are packed when it is their turn */
    struct sender *senders;           /* a ring; the next to pump */
    uint32_t n_senders;
};

/* Takes the connection that waits at `server`. Failures are logged and cost only that connection.
 */
void conn_accept(struct agent *agent, uv_stream_t *server, enum link_family family);

struct conn *conn_ref(struct conn *conn);
void conn_unref(struct conn *conn);

/* Ends it at once: calls are told that the connection is lost. */
void conn_close(struct conn *conn);

/* Sends protocol.error {code, message}, then closes. No other connection notices. */
void conn_fail(struct conn *conn, enum status code, const char *message);

/* The token was shown (or none is needed). False when `connections` is reached: conn_fail was
 * called. */
bool conn_authenticate(struct conn *conn);

/* conn_read.c */
int conn_read_start(struct conn *conn);
void conn_read_stop(struct conn *conn);
/* Parses what is buffered and goes on reading, unless the connection is full. */
void conn_read_resume(struct conn *conn);

/* conn_write.c */
/* Queues a frame and writes what can be written. Takes `out`. */
void conn_send(struct conn *conn, enum conn_lane lane, struct out *out);
/* A frame whose last `len` bytes are at `data`: written from there when nothing waits, copied
 * otherwise. Takes `head`. */
void conn_send_data(struct conn *conn, struct out *head, const void *data, size_t len);
/* Writes until the socket is full, nothing is left, or the turn is used up. */
void conn_flush(struct conn *conn);
/* Above the high mark: takes no requests and sends no stream data. */
bool conn_full(const struct conn *conn);
/* Nothing that was answered still waits for the socket. */
bool conn_written(const struct conn *conn);
/* Nothing of what is queued will be written. */
void conn_write_drop(struct conn *conn);
/* Goes on with this one, reading and writing, when others had their turn. */
void conn_go_on_later(struct conn *conn);
/* Goes on with connections that used up their turn: agent's idle handle. */
void conn_flush_again(struct agent *agent);
