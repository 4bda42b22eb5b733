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

int request_breach(struct request *request, const char *what) {
    return error_fatal(request->client, EPROTO, "the guest broke the protocol: %s", what);
}

/* A callback's value: the first that is not 0 ends its stream's words. */
static void heard(struct request *request, int r) {
    if (r != 0 && request->failed == 0)
        request->failed = r;
}

/* NULL: a name too long, or one too many. */
static struct channel *channel_named(struct request *request, const char *name, size_t len) {
    struct channel *channel;

    if (len == 0 || len >= sizeof(channel->name) || memchr(name, '\0', len))
        return NULL;
    for (size_t i = 0; i < request->n_channels; i++) {
        channel = &request->channels[i];
        if (strlen(channel->name) == len && memcmp(channel->name, name, len) == 0)
            return channel;
    }
    if (request->n_channels == CHANNELS_MAX)
        return NULL;
    channel = &request->channels[request->n_channels++];
    *channel = (struct channel){.off = UINT64_MAX};
    memcpy(channel->name, name, len);
    return channel;
}

static struct channel *channel_of(struct request *request, const msgpack_object *params) {
    struct guestproto_bytes name;

    if (!guestproto_get_bytes(params, "ch", &name))
        return NULL;
    return channel_named(request, name.data, name.len);
}

/*
 * The channel goes on at `off`, which must be where it stood. The first word of a connection says
 * where that is: anywhere for a channel that is new, else at or below what the caller has had. What
 * comes again up to there is held to the same order, and not told.
 */
static bool follows(struct channel *channel, uint64_t off) {
    if (channel->placed)
        return off == channel->at;
    if (channel->off == UINT64_MAX)
        channel->off = off;
    channel->placed = true;
    channel->at = off;
    return off <= channel->off;
}

static int on_data(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct guestproto_bytes data;
    struct channel *channel;
    uint64_t off, again;

    if (!guestproto_get_bytes(params, "data", &data) || !guestproto_get_uint(params, "off", &off))
        return request_breach(request, "stream.data without data or off");
    if (data.len > request->allowed)
        return request_breach(request, "more stream data than credited");
    request->allowed -= data.len;
    request->consumed += data.len;
    channel = channel_of(request, params);
    if (!channel)
        return 0;
    if (!follows(channel, off) || off >= UINT64_MAX - data.len)
        return request_breach(request, "an offset that does not follow");
    channel->at = off + data.len;
    again = channel->off - off < data.len ? channel->off - off : data.len;
    if (channel->off > off && again == data.len)
        return 0;
    if (channel->ended && data.len > again)
        return request_breach(request, "data behind an end");
    channel->off = channel->at;
    if (stream->data && request->failed == 0)
        heard(request, stream->data(stream->context, channel->name, off + again, data.data + again,
                                    data.len - again));
    return 0;
}

static int on_gap(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct channel *channel;
    uint64_t from, to;

    if (!guestproto_get_uint(params, "from", &from) || !guestproto_get_uint(params, "to", &to) ||
        to < from || to == UINT64_MAX)
        return request_breach(request, "stream.gap without its bounds");
    channel = channel_of(request, params);
    if (!channel)
        return 0;
    if (!follows(channel, from))
        return request_breach(request, "a gap that does not follow");
    channel->at = to;
    if (to <= channel->off && from < channel->off)
        return 0;
    if (channel->ended && to > channel->off)
        return request_breach(request, "a gap behind an end");
    from = channel->off;
    channel->off = to;
    if (stream->gap && request->failed == 0)
        heard(request, stream->gap(stream->context, channel->name, from, to));
    return 0;
}

static int on_end(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct channel *channel;
    uint64_t off;

    if (!guestproto_get_uint(params, "off", &off) || off == UINT64_MAX)
        return request_breach(request, "stream.end without off");
    channel = channel_of(request, params);
    if (!channel)
        return 0;
    if (!follows(channel, off) || off != channel->off)
        return request_breach(request, "an end that does not follow");
    if (channel->ended)
        return 0;
    channel->ended = true;
    if (stream->end && request->failed == 0)
        heard(request, stream->end(stream->context, channel->name, off));
    return 0;
}

/* Where an attach begins, told before there are bytes: a channel that is silent for long has a
 * place to go on from, too. */
static bool take_from(struct request *request, const msgpack_object *from) {
    if (!from || from->type != MSGPACK_OBJECT_MAP)
        return true;
    for (uint32_t i = 0; i < from->via.map.size; i++) {
        const msgpack_object_kv *pair = &from->via.map.ptr[i];
        struct channel *channel;

        if (pair->key.type != MSGPACK_OBJECT_STR ||
            pair->val.type != MSGPACK_OBJECT_POSITIVE_INTEGER)
            continue;
        channel = channel_named(request, pair->key.via.str.ptr, pair->key.via.str.size);
        if (channel && !follows(channel, pair->val.via.u64))
            return false;
    }
    return true;
}

/*
 * Whom the stream is about. Asked again, it must be the same one: a key or a tag that is another
 * program's now would have its output taken for the rest of the first one's.
 */
static int on_started(struct request *request, const msgpack_object *params) {
    struct guestproto_bytes tag = {"", 0};
    int64_t pid = 0;

    guestproto_get_int(params, "pid", &pid);
    guestproto_get_bytes(params, "tag", &tag);
    if (pid <= 0 || tag.len >= sizeof(request->tag) || memchr(tag.data, '\0', tag.len))
        return request_breach(request, "a program without pid or tag");
    if (request->pid != 0 && (pid != request->pid || strlen(request->tag) != tag.len ||
                              memcmp(request->tag, tag.data, tag.len) != 0))
        return error_fatal(request->client, ESTALE,
                           "the program is gone, and another in its place");
    request->pid = pid;
    memcpy(request->tag, tag.data, tag.len);
    request->tag[tag.len] = '\0';
    if (!take_from(request, guestproto_get(params, "from")))
        return request_breach(request, "a stream that begins behind its place");
    return up_started(request, params);
}

static int on_event(struct request *request, const msgpack_object *params) {
    const struct guestproto_stream *stream = request->stream;
    struct guestproto_bytes event;
    char name[32];
    int r = 0;

    if (!guestproto_get_bytes(params, "event", &event))
        return request_breach(request, "stream.event without a name");
    if (event.len >= sizeof(name))
        return 0;
    memcpy(name, event.data, event.len);
    name[event.len] = '\0';
    if (strcmp(name, "started") == 0)
        r = on_started(request, params);
    if (r == 0 && stream->event && request->failed == 0)
        heard(request, stream->event(stream->context, name, params));
    return r;
}

static int on_credit(struct request *request, const msgpack_object *params) {
    uint64_t bytes;

    if (!guestproto_get_uint(params, "bytes", &bytes))
        return request_breach(request, "stream.credit without bytes");
    up_credited(request, bytes);
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
    request->heard = true;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (named(message->method, kinds[i].method))
            return kinds[i].take(request, &message->params);
    return 0;
}
