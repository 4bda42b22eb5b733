#include "agent/ready.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "agent/log.h"
#include "agent/out.h"
#include "proto/address.h"
#include "proto/frame.h"
#include "proto/message.h"
#include "version.h"

enum {
    FIRST_RETRY_MS = 10,
    LAST_RETRY_MS = 1000,
    CONNECT_MS = 2000,
    ANSWER_MS = 2000,
    SERVE_MS = 1000, /* a resolver, or an answer that comes byte by byte, takes any time */
    ANSWER_MAX = 64 << 10,
};

/* It has a thread of its own: the pool would start all of its threads for this. */
struct ready {
    struct agent *agent;
    ready_report_fn *report;
    struct address address;
    uv_thread_t thread;
    uv_async_t asked;
    uv_timer_t timer; /* while asking: SERVE_MS; else: the next attempt */
    uint64_t retry_ms;
    int result;
    bool asking, closing, reported;
};

static struct out *pack_request(const struct agent *agent) {
    const struct link_hello *hello = &agent->hello;
    struct out *out = out_new(0);
    struct timespec now;

    if (!out)
        return NULL;
    clock_gettime(CLOCK_BOOTTIME, &now);
    msgpack_pack_array(&out->pk, 4);
    msgpack_pack_uint8(&out->pk, MESSAGE_REQUEST);
    msgpack_pack_uint8(&out->pk, 0);
    pack_text(&out->pk, "ready");
    msgpack_pack_map(&out->pk, 4);
    pack_kv_text(&out->pk, "boot_id", hello->boot_id);
    pack_kv_text(&out->pk, "version", guestd_version);
    pack_kv_uint(&out->pk, "uptime_ms",
                 (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000);
    pack_text(&out->pk, "listen");
    msgpack_pack_array(&out->pk, hello->listeners);
    for (uint32_t i = 0; i < hello->listeners; i++)
        pack_text(&out->pk, hello->listener[i].name);
    out_seal(out, 0);
    return out->failed ? out_free(out) : out;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* Waits for one whole response without an error to msgid 0. Whoever answers is not believed
 * anything else. */
static int read_answer(int fd) {
    static uint8_t buffer[ANSWER_MAX]; /* one ready at a time */
    size_t len = 0, need = FRAME_HEADER;

    for (;;) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        struct message message;
        struct slice body;
        ssize_t n;
        int r;

        if (poll(&wait, 1, ANSWER_MS) <= 0)
            return -ETIMEDOUT;
        n = read(fd, buffer + len, sizeof buffer - len);
        if (n <= 0)
            return n < 0 ? -errno : -ECONNRESET;
        len += (size_t)n;
        r = frame_pop(buffer, len, sizeof buffer - FRAME_HEADER, &body, &need);
        if (r < 0)
            return r;
        if (r == 0)
            continue;
        if (message_decode(body, 16, &message) != 0)
            return -EBADMSG;
        r = message.kind == MESSAGE_RESPONSE && message.msgid == 0 &&
                    message.error.type == MSGPACK_OBJECT_NIL
                ? 0
                : -EPROTO;
        message_deinit(&message);
        return r;
    }
}

static void on_thread(void *arg) {
    struct ready *ready = arg;
    struct out *out = pack_request(ready->agent);
    int fd;

    ready->result = out ? address_connect(&ready->address, CONNECT_MS) : -ENOMEM;
    if (ready->result >= 0) {
        fd = ready->result;
        ready->result = write_all(fd, out->data, out->len);
        if (ready->result == 0)
            ready->result = read_answer(fd);
        close(fd);
    }
    if (out)
        out_free(out);
    uv_async_send(&ready->asked);
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void on_asked_closed(uv_handle_t *handle) {
    struct ready *ready = handle->data;

    uv_close((uv_handle_t *)&ready->timer, on_closed);
}

static void end(struct ready *ready) {
    ready->agent->ready = NULL;
    uv_timer_stop(&ready->timer); /* it may be due in this very turn, and would ask again */
    uv_close((uv_handle_t *)&ready->asked, on_asked_closed);
}

static void ask(struct ready *ready);

static void say_news(struct ready *ready) {
    bool news = !ready->reported || ready->agent->ready_answered;

    ready->reported = true;
    if (news)
        ready->report(ready->agent);
}

static void on_timer(uv_timer_t *timer) {
    struct ready *ready = timer->data;

    if (ready->asking)
        say_news(ready);
    else
        ask(ready);
}

static void try_again_later(struct ready *ready) {
    log_debug("ready: %s", strerror(-ready->result));
    uv_timer_start(&ready->timer, on_timer, ready->retry_ms, 0);
    ready->retry_ms = ready->retry_ms * 2 > LAST_RETRY_MS ? LAST_RETRY_MS : ready->retry_ms * 2;
}

static void on_asked(uv_async_t *async) {
    struct ready *ready = async->data;

    uv_thread_join(&ready->thread);
    ready->asking = false;
    ready->agent->ready_answered = ready->result == 0;
    say_news(ready);
    if (ready->closing || ready->result == 0)
        end(ready);
    else
        try_again_later(ready);
}

static void ask(struct ready *ready) {
    int r;

    ready->asking = true;
    r = uv_thread_create(&ready->thread, on_thread, ready);
    if (r < 0) { /* else `result` is the thread's */
        ready->result = r;
        ready->asking = false;
        say_news(ready);
        try_again_later(ready);
    }
}

int ready_start(struct agent *agent, ready_report_fn *report) {
    struct ready *ready;
    int r;

    ready = calloc(1, sizeof *ready);
    if (!ready)
        return -ENOMEM;
    r = address_parse(agent->hello.config.ready, &ready->address);
    if (r == 0)
        r = uv_async_init(&agent->loop, &ready->asked, on_asked);
    if (r < 0) {
        free(ready);
        return r;
    }
    ready->agent = agent;
    ready->report = report;
    ready->retry_ms = FIRST_RETRY_MS;
    ready->asked.data = ready;
    uv_timer_init(&agent->loop, &ready->timer);
    ready->timer.data = ready;
    agent->ready = ready;
    uv_timer_start(&ready->timer, on_timer, SERVE_MS, 0);
    ask(ready);
    return 0;
}

void ready_close(struct agent *agent) {
    struct ready *ready = agent->ready;

    if (!ready)
        return;
    ready->closing = true;
    if (!ready->asking) /* else on_asked closes */
        end(ready);
}
