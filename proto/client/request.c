/* A request's life: asked, served, and after a lost connection asked again. */
#include <errno.h>
#include <string.h>

#include "proto/client/params.h"
#include "proto/client/request.h"
#include "proto/limits.h"

static int queue_request(struct request *request, const struct guestproto_params *params) {
    struct guestproto *client = request->client;
    struct buffer *out = &client->wire.out;
    size_t before = buffer_len(out);

    if ((params && params->failed) || !send_request(request, request->ask->method, params))
        return error_set(client, ENOMEM, "no memory");
    if (buffer_len(out) - before - FRAME_HEADER > client->max_request) {
        out->end = out->start + before;
        return error_set(client, EMSGSIZE, "the request is over the %zu bytes that the guest takes",
                         client->max_request);
    }
    return 0;
}

/* Forgets what was said on the connection before this one. */
static void begin(struct request *request) {
    request->id = ++request->client->next_id;
    request->allowed = request->window;
    request->consumed = 0;
    request->heard = request->cancel_sent = false;
    for (size_t i = 0; i < request->n_channels; i++)
        request->channels[i].placed = false;
    up_begin(request);
    side_begin(request);
}

/* Once, on the connection that is there. */
static int attempt(struct request *request) {
    const struct ask *ask = request->ask;
    const struct again *again = ask->again;
    struct guestproto *client = request->client;
    struct guestproto_params *params = NULL;
    char where[WHERE_SIZE] = "";
    int r = 0;

    if (again && again->prepare)
        r = again->prepare(request, &params, where);
    if (r == 0) {
        if (request->attempt > 0 && client->options.resumed)
            client->options.resumed(client->options.resumed_context, ask->method, where);
        begin(request);
        r = queue_request(request, params ? params : ask->params);
    }
    if (r == 0)
        r = request_serve(request);
    guestproto_params_free(params);
    return r;
}

static int serve(struct request *request) {
    struct guestproto *client = request->client;
    unsigned fruitless = 0;
    int r;

    for (;;) {
        client->lost = false;
        r = attempt(request);
        if (r == 0 || !client->lost || !request->ask->again || !resume_possible(client))
            return r;
        fruitless = request->heard ? 0 : fruitless + 1;
        request->attempt++;
        r = resume_connect(request, fruitless);
        if (r != 0)
            return request->failed ? request->failed : r;
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

int request_run(struct guestproto *client, const struct ask *ask,
                struct guestproto_reply *ret_reply) {
    static const struct guestproto_stream none;
    struct request request = {
        .client = client,
        .ask = ask,
        .stream = ask->stream ? ask->stream : &none,
        .plain = !ask->stream,
        .began_ms = wire_now_ms(),
        .deadline_ms = INT64_MAX,
    };
    int r;

    if (client->wire.fd < 0)
        return error_set(client, ENOTCONN, "not connected");
    request.window = request.stream->window ? request.stream->window : DEFAULT_WINDOW;
    if (client->options.timeout_ms > 0)
        request.deadline_ms = request.began_ms + client->options.timeout_ms;
    r = serve(&request);
    buffer_deinit(&request.up.kept);
    if (!ask->deaf)
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
