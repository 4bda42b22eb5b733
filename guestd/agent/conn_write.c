/* The writing half: two lanes, then the senders in turn; one rest at a time waits in libuv for the
 * socket. */
#include "agent/conn.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/call_private.h"
#include "agent/log.h"
#include "proto/message.h"

enum {
    TURN = 1 << 20,  /* bytes a connection may write before others get their turn */
    STALL_LOOKS = 4, /* looks at a waiting connection in stall_s */
};

static void charge(struct conn *conn, size_t bytes) {
    conn->agent->stats.queued_bytes += bytes;
}

static void refund(struct conn *conn, size_t bytes) {
    assert(conn->agent->stats.queued_bytes >= bytes);
    conn->agent->stats.queued_bytes -= bytes;
}

static size_t queued(const struct conn *conn) {
    size_t bytes = conn->lane[CONN_URGENT].bytes + conn->lane[CONN_ORDERED].bytes;

    return conn->writing ? bytes + conn->writing->len - conn->writing->sent : bytes;
}

/* Where all have queued too much, those go on that have taken what was queued to them. */
bool conn_full(const struct conn *conn) {
    const struct agent *agent = conn->agent;
    size_t bytes = queued(conn);

    return bytes > agent->limit[LIMIT_queue_connection] ||
           (bytes > 0 && agent->stats.queued_bytes > agent->limit[LIMIT_queue_total]);
}

bool conn_written(const struct conn *conn) {
    return queued(conn) == 0;
}

static bool low(const struct conn *conn) {
    return queued(conn) <= conn->agent->limit[LIMIT_queue_connection] / 2;
}

/* ── a socket that takes nothing ── */

static void on_stall(uv_timer_t *timer) {
    struct conn *conn = timer->data;
    size_t left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->stream);
    uint64_t now = uv_now(&conn->agent->loop);

    if (left != conn->stall_left) {
        conn->stall_left = left;
        conn->stall_since_ms = now;
        return;
    }
    if (now - conn->stall_since_ms < conn->agent->limit[LIMIT_stall_s] * 1000)
        return;
    log_info("%s: took nothing for %llu s", conn->name,
             (unsigned long long)conn->agent->limit[LIMIT_stall_s]);
    conn_close(conn);
}

static void stall_start(struct conn *conn) {
    uint64_t every = conn->agent->limit[LIMIT_stall_s] * 1000 / STALL_LOOKS;

    if (conn->state != CONN_OPEN || !conn->authenticated)
        return; /* the timer has another deadline then, a shorter one */
    conn->stall_left = uv_stream_get_write_queue_size((uv_stream_t *)&conn->stream);
    conn->stall_since_ms = uv_now(&conn->agent->loop);
    uv_timer_start(&conn->timer, on_stall, every, every);
}

/* ── writing ── */

/* Said what there was to say; the peer's close, or the deadline, ends it. */
static void say_no_more(struct conn *conn) {
    uv_os_fd_t fd;

    if (uv_fileno((uv_handle_t *)&conn->stream, &fd) == 0)
        shutdown(fd, SHUT_WR);
}

static void on_written(uv_write_t *request, int status) {
    struct conn *conn = request->data;

    refund(conn, conn->writing->len - conn->writing->sent);
    conn->writing = out_free(conn->writing);
    if (conn->agent->again)
        agent_flush_later(conn->agent);
    if (status < 0) {
        conn_close(conn);
    } else {
        if (conn->state == CONN_OPEN && conn->authenticated)
            uv_timer_stop(&conn->timer);
        conn_flush(conn);
    }
    conn_unref(conn);
}

/* Hands the rest of a frame to libuv, which writes it when the socket takes bytes again. */
static void write_rest(struct conn *conn, struct out *out) {
    uv_buf_t buf = uv_buf_init((char *)out->data + out->sent, (unsigned)(out->len - out->sent));
    int r;

    conn->writing = out;
    conn->write.data = conn_ref(conn);
    charge(conn, out->len - out->sent);
    r = uv_write(&conn->write, (uv_stream_t *)&conn->stream, &buf, 1, on_written);
    if (r < 0) { /* no callback comes */
        refund(conn, out->len - out->sent);
        conn->writing = out_free(out);
        conn_close(conn);
        conn_unref(conn);
        return;
    }
    stall_start(conn);
}

/* Returns bytes taken (0: the socket is full), or closes the connection and returns a negative
 * number. */
static ssize_t try_write(struct conn *conn, const uv_buf_t *bufs, unsigned n) {
    int r = uv_try_write((uv_stream_t *)&conn->stream, bufs, n);

    if (r == UV_EAGAIN)
        return 0;
    if (r < 0)
        conn_close(conn);
    return r;
}

/* Writes one frame or begins to; returns the bytes that it was, negative when the connection is
 * gone. */
static ssize_t write_frame(struct conn *conn, struct out *out) {
    uv_buf_t buf = uv_buf_init((char *)out->data, (unsigned)out->len);
    ssize_t len = (ssize_t)out->len;
    ssize_t r = try_write(conn, &buf, 1);

    conn->agent->stats.frames_out++;
    if (r < 0 || r == len) {
        out_free(out);
        return r < 0 ? r : len;
    }
    out->sent = (size_t)r;
    write_rest(conn, out);
    return len;
}

void conn_send(struct conn *conn, enum conn_lane lane, struct out *out) {
    if (conn->state == CONN_CLOSING || out->failed) {
        out_free(out);
        return;
    }
    out_seal(out, 0);
    charge(conn, out->len);
    out_queue_push(&conn->lane[lane], out);
    conn_flush(conn);
    if (conn->state == CONN_OPEN && conn_full(conn)) /* else what comes is thrown away */
        conn_read_stop(conn);
}

void conn_send_data(struct conn *conn, struct out *head, const void *data, size_t len) {
    uv_buf_t bufs[2];
    ssize_t r;

    if (conn->state != CONN_OPEN || head->failed) {
        out_free(head);
        return;
    }
    out_seal(head, len);
    if (conn->writing || conn->lane[CONN_URGENT].first || conn->lane[CONN_ORDERED].first) {
        out_append(head, data, len);
        if (head->failed) {
            out_free(head);
            conn_close(conn); /* a stream with a hole would be a lie */
            return;
        }
        charge(conn, head->len);
        out_queue_push(&conn->lane[CONN_ORDERED], head);
        return;
    }
    bufs[0] = uv_buf_init((char *)head->data, (unsigned)head->len);
    bufs[1] = uv_buf_init((char *)data, (unsigned)len); /* only read from */
    r = try_write(conn, bufs, 2);
    conn->agent->stats.frames_out++;
    if (r < 0 || (size_t)r == head->len + len) {
        out_free(head);
        return;
    }
    out_append(head, data, len);
    if (head->failed) {
        out_free(head);
        conn_close(conn);
        return;
    }
    head->sent = (size_t)r;
    write_rest(conn, head);
}

static struct out *next_queued(struct conn *conn) {
    for (int lane = CONN_URGENT; lane <= CONN_ORDERED; lane++) {
        struct out *out = out_queue_pop(&conn->lane[lane]);

        if (out) {
            refund(conn, out->len);
            return out;
        }
    }
    return NULL;
}

/* Lets the next awake sender send one frame. False when all are asleep. */
static bool pump(struct conn *conn) {
    for (uint32_t left = conn->n_senders; left > 0 && conn->senders && conn->state == CONN_OPEN;
         left--) {
        struct sender *sender = conn->senders;
        struct call *call;
        bool sent;

        conn->senders = sender->next; /* whoever sends goes to the end of the ring */
        if (!sender->awake)
            continue;
        call = call_ref(sender->call);
        sent = sender->pump(sender);
        if (!sent && call_sender(call) == sender) /* it may be gone: the answer ends a sender */
            sender->awake = false;
        call_unref(call);
        if (sent)
            return true;
    }
    return false;
}

/* Puts it on the list of those that go on in the loop's next round. */
static void list_again(struct conn *conn) {
    if (conn->again)
        return;
    conn->again = true;
    conn->again_next = conn->agent->again;
    conn->agent->again = conn_ref(conn);
}

/* Packs the next large answer, if all that is queued leaves room for it; else it waits for others
 * to be written. */
static bool pack_later(struct conn *conn) {
    struct agent *agent = conn->agent;
    struct call *call = conn->later;

    if (!call || conn->state != CONN_OPEN)
        return false;
    if (agent->stats.queued_bytes > 0 &&
        agent->stats.queued_bytes + call->later.about > agent->limit[LIMIT_queue_total]) {
        list_again(conn);
        return false;
    }
    call_later_run(call);
    return true;
}

void conn_flush(struct conn *conn) {
    size_t budget = TURN;

    if (conn->flushing || conn->state == CONN_CLOSING)
        return;
    conn->flushing = true;
    conn_ref(conn);
    while (!conn->writing && conn->state != CONN_CLOSING) {
        struct out *out = next_queued(conn);

        if (out) {
            size_t len = out->len;

            if (write_frame(conn, out) < 0)
                break;
            budget -= len < budget ? len : budget;
        } else if (pack_later(conn)) {
            continue;
        } else {
            uint64_t before = conn->agent->stats.data_bytes;
            uint64_t moved;

            if (!pump(conn))
                break;
            moved = conn->agent->stats.data_bytes - before;
            budget -= moved < budget ? moved : budget;
        }
        if (budget == 0) { /* others get their turn first */
            conn_go_on_later(conn);
            break;
        }
    }
    conn->flushing = false;
    if (conn->state == CONN_DRAINING && queued(conn) == 0)
        say_no_more(conn);
    else if (conn->state == CONN_OPEN && !conn->reading && low(conn))
        conn_read_resume(conn);
    conn_unref(conn);
}

void conn_go_on_later(struct conn *conn) {
    list_again(conn);
    agent_flush_later(conn->agent);
}

void conn_flush_again(struct agent *agent) {
    struct conn *conn = agent->again;

    agent->again = NULL;
    while (conn) {
        struct conn *next = conn->again_next;

        conn->again = false;
        conn->spent_ns = 0;
        conn_flush(conn);
        conn_unref(conn);
        conn = next;
    }
}

/* At once, though calls may hold the connection for long: others wait for the room. */
void conn_write_drop(struct conn *conn) {
    refund(conn, conn->lane[CONN_URGENT].bytes + conn->lane[CONN_ORDERED].bytes);
    out_queue_deinit(&conn->lane[CONN_URGENT]);
    out_queue_deinit(&conn->lane[CONN_ORDERED]);
    if (conn->agent->again)
        agent_flush_later(conn->agent);
}
