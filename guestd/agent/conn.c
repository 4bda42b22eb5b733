#include "agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/buffer.h"
#include "agent/call_private.h"
#include "agent/log.h"
#include "agent/peer.h"
#include "proto/message.h"

enum {
    DRAIN_MS = 1000,
    DRAINING_MAX =
        64, /* more than so many wait for their peer's close at once: the next are cut short */
};

struct conn *conn_ref(struct conn *conn) {
    conn->refs++;
    return conn;
}

void conn_unref(struct conn *conn) {
    if (--conn->refs > 0)
        return;
    buffer_unref(conn->in);
    free(conn);
}

static void on_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;

    if (--conn->handles == 0)
        conn_unref(conn);
}

static void uncount(struct conn *conn) {
    struct agent *agent = conn->agent;

    if (conn->state == CONN_OPEN) {
        if (conn->authenticated) {
            if (--agent->stats.connections == 0) {
                buffer_trim();
                link_serving(agent);
            }
        } else {
            agent->unauthenticated--;
        }
    } else if (conn->state == CONN_DRAINING) {
        agent->draining--;
    }
}

static void lose_calls(struct conn *conn) {
    while (conn->calls)
        call_lost(conn->calls);
    while (conn->senders)
        call_sender_stop(conn->senders->call);
}

void conn_close(struct conn *conn) {
    if (conn->state == CONN_CLOSING)
        return;
    uncount(conn);
    conn->state = CONN_CLOSING;
    conn->reading = false;
    if (conn->prev)
        conn->prev->next = conn->next;
    else
        conn->agent->conns = conn->next;
    if (conn->next)
        conn->next->prev = conn->prev;
    uv_close((uv_handle_t *)&conn->timer, on_closed);
    uv_close((uv_handle_t *)&conn->stream, on_closed);
    lose_calls(conn);
    conn_write_drop(conn);
}

static void on_drained(uv_timer_t *timer) {
    conn_close(timer->data);
}

void conn_fail(struct conn *conn, enum status code, const char *message) {
    struct out *out;

    if (conn->state != CONN_OPEN)
        return;
    log_debug("%s: %s: %s", conn->name, status_name(code), message);
    out = out_new(0);
    if (!out || conn->agent->draining >= DRAINING_MAX) {
        out_free(out);
        conn_close(conn);
        return;
    }
    uncount(conn);
    conn->state = CONN_DRAINING;
    conn->agent->draining++;
    lose_calls(conn);
    msgpack_pack_array(&out->pk, 3);
    msgpack_pack_uint8(&out->pk, MESSAGE_NOTIFICATION);
    pack_text(&out->pk, "protocol.error");
    msgpack_pack_map(&out->pk, 2);
    pack_kv_text(&out->pk, "code", status_name(code));
    pack_kv_text(&out->pk, "message", message);
    /* What comes in is thrown away until the peer closes: closing a socket with unread bytes resets
     * it, and the peer might never see why. */
    uv_timer_start(&conn->timer, on_drained, DRAIN_MS, 0);
    conn_read_start(conn);
    conn_send(conn, CONN_ORDERED, out); /* behind all that is queued: it is the last frame */
}

bool conn_authenticate(struct conn *conn) {
    struct agent *agent = conn->agent;

    if (conn->authenticated || conn->state != CONN_OPEN)
        return conn->authenticated;
    if (agent->stats.connections >= agent->limit[LIMIT_connections]) {
        conn_fail(conn, STATUS_LIMIT_EXCEEDED, "too many connections");
        return false;
    }
    agent->unauthenticated--;
    conn->authenticated = true;
    uv_timer_stop(&conn->timer);
    if (++agent->stats.connections == 1)
        link_serving(agent);
    return true;
}

static void on_hello_late(uv_timer_t *timer) {
    conn_fail(timer->data, STATUS_UNAUTHENTICATED, "no hello with the token within 10 s");
}

static struct conn *conn_new(struct agent *agent) {
    struct conn *conn = calloc(1, sizeof *conn);

    if (!conn)
        return NULL;
    conn->agent = agent;
    conn->refs = 1;
    conn->client_frame = DEFAULT_CLIENT_FRAME;
    conn->later_last = &conn->later;
    out_queue_init(&conn->lane[CONN_URGENT]);
    out_queue_init(&conn->lane[CONN_ORDERED]);
    uv_pipe_init(&agent->loop, &conn->stream, 0);
    uv_timer_init(&agent->loop, &conn->timer);
    conn->stream.data = conn->timer.data = conn;
    conn->handles = 2;
    conn->next = agent->conns;
    if (conn->next)
        conn->next->prev = conn;
    agent->conns = conn;
    agent->unauthenticated++;
    return conn;
}

/* Decides about a fresh connection: refused with its reason, waiting for hello, or open. */
static void admit(struct conn *conn, enum link_family family) {
    struct agent *agent = conn->agent;
    uv_os_fd_t fd;
    int r;

    r = uv_fileno((uv_handle_t *)&conn->stream, &fd);
    if (r == 0)
        r = peer_check(fd, family, &agent->hello.config, conn->name, sizeof conn->name);
    if (r == -EACCES) {
        conn_fail(conn, STATUS_PERMISSION_DENIED, "this peer may not speak here");
        return;
    }
    if (r < 0) { /* the peer has gone already */
        conn_close(conn);
        return;
    }
    if (agent->hello.config.token_len == 0) {
        if (!conn_authenticate(conn))
            return;
    } else if (agent->unauthenticated > MAX_UNAUTHENTICATED) {
        conn_fail(conn, STATUS_LIMIT_EXCEEDED, "too many connections without a token");
        return;
    } else {
        uv_timer_start(&conn->timer, on_hello_late, HELLO_TIMEOUT_MS, 0);
    }
    if (conn_read_start(conn) < 0)
        conn_close(conn);
}

void conn_accept(struct agent *agent, uv_stream_t *server, enum link_family family) {
    struct conn *conn = conn_new(agent);
    int r;

    if (!conn) {
        log_error("no memory for a connection");
        return;
    }
    r = uv_accept(server, (uv_stream_t *)&conn->stream);
    if (r < 0) {
        log_warning("accept: %s", uv_strerror(r));
        conn_close(conn);
        return;
    }
    admit(conn, family);
}
