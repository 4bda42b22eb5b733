/*
 * What a guest says about a request while it runs. Notifications of other streams, unknown methods,
 * events and channels are ignored, as PROTOCOL.md asks; data beyond the window, and an offset that
 * is not where the last data or gap ended, are breaches.
 */
#include <errno.h>
#include <string.h>

#include "proto/client/request.h"

static bool named(struct slice text, const char *name) {
    return text.len == strlen(name) && memcmp(text.data, name, text.len) == 0;
}

static int breach(struct request *request, const char *what) {
    return error_fatal(request->client, EPROTO, "the guest broke the protocol: %s", what);
}

/* A callback's value: the first that is not 0 ends its stream's words. */
static void heard(struct request *request, int r) {
    if (r != 0 && request->failed == 0)
        request->failed = r;
}

/* NULL: a name too long, or one too many. */
static struct channel *channel_of(struct request *request, const msgpack_object *params,
                                  bool *ret_new) {
    struct guestproto_bytes name;
    struct channel *channel;

    *ret_new = false;
    if (!guestproto_get_bytes(params, "ch", &name) || name.len >= sizeof(channel->name) ||
        memchr(name.data, '\0', name.len))
        return NULL;
    for (size_t i = 0; i < request->n_channels; i++) {
        channel = &request->channels[i];
        if (strlen(channel->name) == name.len && memcmp(channel->name, name.data, name.len) == 0)
            return channel;
    }
    if (request->n_channels == CHANNELS_MAX)
        return NULL;
    channel = &request->channels[request->n_channels++];
    memcpy(channel->name, name.data, name.len);
    *ret_new = true;
    return channel;
}

static int on_data(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct guestproto_bytes data;
    struct channel *channel;
    uint64_t off;
    bool new;

    if (!guestproto_get_bytes(params, "data", &data) || !guestproto_get_uint(params, "off", &off))
        return breach(request, "stream.data without data or off");
    if (data.len > request->allowed)
        return breach(request, "more stream data than credited");
    request->allowed -= data.len;
    request->consumed += data.len;
    channel = channel_of(request, params, &new);
    if (!channel)
        return 0;
    if (new)
        channel->off = off;
    if (off != channel->off || off > UINT64_MAX - data.len)
        return breach(request, "an offset that does not follow");
    channel->off = off + data.len;
    if (stream->data && request->failed == 0)
        heard(request, stream->data(stream->context, channel->name, off, data.data, data.len));
    return 0;
}

static int on_gap(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct channel *channel;
    uint64_t from, to;
    bool new;

    if (!guestproto_get_uint(params, "from", &from) || !guestproto_get_uint(params, "to", &to) ||
        to < from)
        return breach(request, "stream.gap without its bounds");
    channel = channel_of(request, params, &new);
    if (!channel)
        return 0;
    if (new)
        channel->off = from;
    if (from != channel->off)
        return breach(request, "a gap that does not follow");
    channel->off = to;
    if (stream->gap && request->failed == 0)
        heard(request, stream->gap(stream->context, channel->name, from, to));
    return 0;
}

static int on_end(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct channel *channel;
    uint64_t off;
    bool new;

    if (!guestproto_get_uint(params, "off", &off))
        return breach(request, "stream.end without off");
    channel = channel_of(request, params, &new);
    if (!channel)
        return 0;
    if (new)
        channel->off = off;
    if (off != channel->off)
        return breach(request, "an end that does not follow");
    if (stream->end && request->failed == 0)
        heard(request, stream->end(stream->context, channel->name, off));
    return 0;
}

static int on_event(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct guestproto_bytes event;
    char name[32];

    if (!guestproto_get_bytes(params, "event", &event))
        return breach(request, "stream.event without a name");
    if (event.len >= sizeof(name) || !stream->event || request->failed != 0)
        return 0;
    memcpy(name, event.data, event.len);
    name[event.len] = '\0';
    heard(request, stream->event(stream->context, name, params));
    return 0;
}

static int on_credit(struct request *request, const msgpack_object *params) {
    uint64_t bytes;

    if (!guestproto_get_uint(params, "bytes", &bytes))
        return breach(request, "stream.credit without bytes");
    if (bytes > UINT64_MAX - request->credit)
        request->credit = UINT64_MAX;
    else
        request->credit += bytes;
    return 0;
}

int request_notified(struct request *request, const struct message *message) {
    static const struct {
        const char *method;
        int (*take)(struct request *, const msgpack_object *);
    } kinds[] = {
        {"stream.data", on_data}, {"stream.event", on_event}, {"stream.credit", on_credit},
        {"stream.gap", on_gap},   {"stream.end", on_end},
    };
    uint64_t id;
    int code;

    if (named(message->method, "protocol.error")) {
        /* The connection is closed behind it: why, is all there is left to know. */
        code = error_from_guest(request->client, &message->params, NULL);
        wire_close(&request->client->wire);
        return code;
    }
    if (!guestproto_get_uint(&message->params, "id", &id) || id != request->id)
        return 0;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (named(message->method, kinds[i].method))
            return kinds[i].take(request, &message->params);
    return 0;
}
