/* One request on one connection, until its answer: the only loop of the library. */
#include <errno.h>
#include <string.h>

#include "proto/client/request.h"

#define NESTING_MAX 16
/* Credit goes back in pieces of so much of the window: often enough that the guest never waits. */
#define CREDIT_PIECES 4

static int no_memory(struct request *request) {
    return error_fatal(request->client, ENOMEM, "no memory");
}

static int on_response(struct request *request, const struct message *message, struct slice body) {
    int r;

    if (message->msgid == request->id) {
        request->answer = kept_new(body);
        return request->answer ? 0 : no_memory(request);
    }
    r = side_answered(request, message);
    if (r != 0)
        return r > 0 ? 0 : r;
    /* There is no other request in flight that this could belong to. */
    return error_fatal(request->client, EPROTO, "the guest answered what was not asked");
}

/* One frame of the guest. 0, or a fatal error that is already set. */
static int on_frame(struct request *request, struct slice body) {
    static const char *const why[] = {
        [MESSAGE_TRUNCATED] = "a frame whose lengths lie",
        [MESSAGE_NESTED] = "a frame nested too deeply",
        [MESSAGE_OBJECTS] = "a frame of too many objects",
        [MESSAGE_SHAPE] = "a frame of no known shape",
        [MESSAGE_METHOD] = "a request",
        [MESSAGE_PARAMS] = "a request",
    };
    struct guestproto *client = request->client;
    struct message message;
    int r = message_decode(body, NESTING_MAX, &message);

    if (r == -ENOMEM)
        return no_memory(request);
    if (r != 0 && r != MESSAGE_METHOD && r != MESSAGE_PARAMS)
        return error_fatal(client, EPROTO, "the guest sent %s", why[r]);
    if (r != 0 || message.kind == MESSAGE_REQUEST) {
        message_deinit(&message);
        return error_fatal(client, EPROTO, "the guest sent a request");
    }
    if (message.kind == MESSAGE_NOTIFICATION)
        r = request_notified(request, &message);
    else
        r = on_response(request, &message, body);
    message_deinit(&message);
    return r;
}

/* All frames that are here, up to the answer. */
static int take_frames(struct request *request) {
    struct guestproto *client = request->client;
    struct slice body;
    int r;

    while (!request->answer) {
        r = wire_take(&client->wire, &body);
        if (r == 0)
            return 0;
        if (r < 0)
            return error_fatal(client, EPROTO, "the guest sent a frame over %zu bytes",
                               client->wire.max_body);
        r = on_frame(request, body);
        if (r != 0)
            return r;
    }
    return 0;
}

static int queue_cancel(struct request *request) {
    if (!request->ask->deaf && atomic_exchange(&request->client->cancel, false))
        request->cancelling = true;
    if (request->failed != 0)
        request->cancelling = true;
    if (!request->cancelling || request->cancel_sent)
        return 0;
    request->cancel_sent = true;
    return send_cancel(request) ? 0 : no_memory(request);
}

/*
 * What is due: a cancel, credit for what was consumed, a piece of what goes up, a request beside
 * it. All but the first wait for an empty queue, so that a guest that does not listen can't make it
 * grow.
 */
static int queue_frames(struct request *request) {
    struct buffer *out = &request->client->wire.out;
    int r = queue_cancel(request);

    if (r != 0)
        return r;
    if (buffer_len(out) == 0 && request->consumed > 0 &&
        request->consumed >= request->window / CREDIT_PIECES) {
        if (!send_credit(request, request->consumed))
            return no_memory(request);
        request->allowed += request->consumed;
        request->consumed = 0;
    }
    r = 0;
    if (buffer_len(out) == 0)
        r = side_queue(request);
    if (r == 0 && buffer_len(out) == 0 && up_wants(request) &&
        (request->up.ready || !request->stream->poll_source || !up_needs_source(request)))
        r = send_piece(request);
    if (r == -ENOMEM)
        return no_memory(request);
    if (r < 0)
        request->failed = r;
    return 0;
}

/* What to wait for. The source is polled only where its bytes could be sent. */
static void wait_for(const struct request *request, struct wire_wait *wait) {
    const struct up *up = &request->up;
    bool input = up->kind == UP_INPUT && up->open && !up->held && request->failed == 0 &&
                 request->side.input_id == 0;
    bool polls = request->stream->poll_source && up_needs_source(request);
    bool wants = up_wants(request);

    wait->deadline = request->deadline_ms;
    wait->eager = wants && !polls;
    wait->source_fd = (wants || input) && polls ? request->stream->source_fd : -1;
    wait->now = request->failed != 0 && !request->cancel_sent;
    if (input && !polls) {
        if (request->side.input_due_ms <= wire_now_ms())
            wait->eager = true;
        else if (request->side.input_due_ms < wait->deadline)
            wait->deadline = request->side.input_due_ms;
    }
}

/* The connection, not the guest's word, is what failed: worth another one. */
static int lost(struct request *request, int r) {
    struct guestproto *client = request->client;

    client->lost = r != -ENOMEM;
    if (r == -ECONNRESET)
        return error_fatal(client, ECONNRESET, "the guest closed the connection");
    return error_fatal(client, -r, "connection: %s", strerror(-r));
}

int request_serve(struct request *request) {
    struct guestproto *client = request->client;
    struct wire_wait wait = {.wake_fd = client->wake_fd};
    int64_t timeout_ms = client->options.timeout_ms, now_ms;
    int r;

    client->lost = false;
    for (;;) {
        r = take_frames(request);
        if (r != 0 || request->answer)
            return r;
        r = queue_frames(request);
        if (r != 0)
            return r;
        wait_for(request, &wait);
        r = wire_move(&client->wire, &wait);
        now_ms = wire_now_ms();
        if (r == -ETIMEDOUT && now_ms >= request->deadline_ms)
            return error_fatal(client, ETIMEDOUT, "no answer within %lld ms",
                               (long long)timeout_ms);
        if (r < 0 && (r != -ETIMEDOUT || now_ms < wait.deadline))
            return lost(request, r);
        request->up.ready = wait.source_ready;
        if (timeout_ms > 0 && !request->plain && wait.moved)
            request->deadline_ms = now_ms + timeout_ms;
    }
}
