/* One request from its frame to its answer: the only loop of the library. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/client/params.h"
#include "proto/client/request.h"
#include "proto/limits.h"

#define NESTING_MAX 16
/* Credit goes back in pieces of so much of the window: often enough that the guest never waits. */
#define CREDIT_PIECES 4

static int no_memory(struct request *request) {
    return error_fatal(request->client, ENOMEM, "no memory");
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
    if (message.kind == MESSAGE_NOTIFICATION) {
        r = request_notified(request, &message);
    } else if (message.msgid == request->id) {
        request->answer = kept_new(body);
        if (!request->answer)
            r = no_memory(request);
    } else {
        /* Every call waits for its answer, so there is no other that this could belong to. */
        r = error_fatal(client, EPROTO, "the guest answered what was not asked");
    }
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

static bool has_more_to_send(const struct request *request) {
    return request->source_open && request->failed == 0 && request->credit > 0 &&
           !request->client->wire.deaf;
}

/*
 * What is due: a cancel, credit for what was consumed, a piece of an upload. The latter two wait
 * for an empty queue, so that a guest that does not listen can't make it grow.
 */
static int queue_frames(struct request *request) {
    struct guestproto *client = request->client;
    int r;

    if ((atomic_load(&client->cancel) || request->failed != 0) && !request->cancel_sent) {
        atomic_store(&client->cancel, false);
        request->cancel_sent = true;
        if (!send_cancel(request))
            return no_memory(request);
    }
    if (buffer_len(&client->wire.out) == 0 && request->consumed > 0 &&
        request->consumed >= request->window / CREDIT_PIECES) {
        if (!send_credit(request, request->consumed))
            return no_memory(request);
        request->allowed += request->consumed;
        request->consumed = 0;
    }
    if (buffer_len(&client->wire.out) == 0 && has_more_to_send(request) &&
        (request->source_ready || !request->stream->poll_source)) {
        r = send_piece(request);
        if (r == -ENOMEM)
            return no_memory(request);
        if (r < 0)
            request->failed = r;
    }
    return 0;
}

static int serve(struct request *request) {
    struct guestproto *client = request->client;
    int64_t timeout_ms = client->options.timeout_ms;
    struct wire_wait wait = {.wake_fd = client->wake_fd};
    bool limited = timeout_ms > 0;
    int r;

    wait.deadline = limited ? wire_now_ms() + timeout_ms : INT64_MAX;
    for (;;) {
        r = take_frames(request);
        if (r != 0 || request->answer)
            return r;
        r = queue_frames(request);
        if (r != 0)
            return r;
        wait.eager = has_more_to_send(request) && !request->stream->poll_source;
        wait.source_fd = has_more_to_send(request) && request->stream->poll_source
                             ? request->stream->source_fd
                             : -1;
        wait.now = request->failed != 0 && !request->cancel_sent;
        r = wire_move(&client->wire, &wait);
        if (r == -ECONNRESET)
            return error_fatal(client, ECONNRESET, "the guest closed the connection");
        if (r == -ETIMEDOUT)
            return error_fatal(client, ETIMEDOUT, "no answer within %lld ms",
                               (long long)timeout_ms);
        if (r < 0)
            return error_fatal(client, -r, "connection: %s", strerror(-r));
        request->source_ready = wait.source_ready;
        if (limited && !request->plain && wait.moved)
            wait.deadline = wire_now_ms() + timeout_ms;
    }
}

/* The answer is here. Takes request->answer. */
static int finish(struct request *request, struct guestproto_reply *ret_reply) {
    struct guestproto *client = request->client;
    struct message *message = &request->answer->message;

    if (message->error.type != MSGPACK_OBJECT_NIL) {
        int code = error_from_guest(client, &message->error, request->answer);

        return request->failed ? request->failed : code;
    }
    if (message->result.type != MSGPACK_OBJECT_MAP) {
        kept_free(request->answer);
        return error_fatal(client, EPROTO, "the guest broke the protocol: a result that is no map");
    }
    if (ret_reply && !request->failed)
        *ret_reply = (struct guestproto_reply){.result = message->result, .owner = request->answer};
    else
        kept_free(request->answer);
    return request->failed;
}

int guestproto_call_stream(struct guestproto *client, const char *method,
                           const struct guestproto_params *params,
                           const struct guestproto_stream *stream,
                           struct guestproto_reply *ret_reply) {
    static const struct guestproto_stream none;
    struct request request = {
        .client = client,
        .stream = stream ? stream : &none,
        .id = ++client->next_id,
        .plain = !stream,
        .credit = client->stream_credit,
    };
    size_t before = buffer_len(&client->wire.out);
    int r;

    request.window = request.allowed =
        request.stream->window ? request.stream->window : DEFAULT_WINDOW;
    request.source_open = request.stream->source != NULL;
    if (client->wire.fd < 0)
        return error_set(client, ENOTCONN, "not connected");
    if ((params && params->failed) || !send_request(&request, method, params))
        return error_set(client, ENOMEM, "no memory");
    if (buffer_len(&client->wire.out) - before - FRAME_HEADER > client->max_request) {
        client->wire.out.end = client->wire.out.start + before;
        return error_set(client, EMSGSIZE, "the request is over the %zu bytes that the guest takes",
                         client->max_request);
    }
    r = serve(&request);
    atomic_store(&client->cancel, false);
    if (r != 0) {
        kept_free(request.answer);
        return r;
    }
    r = finish(&request, ret_reply);
    if (request.failed)
        error_set(client, -request.failed, "%s", strerror(-request.failed));
    return r;
}

int guestproto_call(struct guestproto *client, const char *method,
                    const struct guestproto_params *params, struct guestproto_reply *ret_reply) {
    return guestproto_call_stream(client, method, params, NULL, ret_reply);
}
