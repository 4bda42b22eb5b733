/*
 * What a request sends: an upload, a program's stdin. Bytes of a stdin are kept until the guest
 * will not ask for them again, so that a lost connection loses none and repeats none.
 */
#include <errno.h>
#include <string.h>

#include "proto/client/request.h"

/* More than this is not sent ahead of credit, whatever a guest allows: it all has to be kept. */
#define STDIN_AHEAD (1u << 20)

static bool keeps(const struct up *up) {
    return up->kind == UP_STDIN || up->kind == UP_INPUT;
}

void up_begin(struct request *request) {
    struct up *up = &request->up;

    up->kind = request->ask->up;
    up->open = up->kind != UP_NONE;
    up->held = keeps(up) && !request->ask->mute;
    up->ready = false;
    up->credit = request->client->stream_credit;
    if (up->kind == UP_UPLOAD) {
        up->at = up->read = up->sure = 0;
        up->over = false;
    } else if (up->kind == UP_STDIN && up->credit > STDIN_AHEAD) {
        up->credit = STDIN_AHEAD;
    }
}

bool up_needs_source(const struct request *request) {
    return request->up.at == request->up.read && !request->up.over;
}

bool up_wants(const struct request *request) {
    const struct up *up = &request->up;

    if (!up->open || up->held || up->kind == UP_INPUT || request->failed != 0 ||
        request->client->wire.deaf)
        return false;
    return up->credit > 0 || (up->over && up->at == up->read);
}

ssize_t up_fill(struct request *request, void *buf, size_t room) {
    struct up *up = &request->up;
    const struct guestproto_stream *stream = request->stream;
    uint8_t *keep = NULL;
    ssize_t n;

    if (up->at < up->read) {
        if (room > up->read - up->at)
            room = up->read - up->at;
        memcpy(buf, up->kept.data + up->kept.end - (up->read - up->at), room);
        up->at += room;
        return (ssize_t)room;
    }
    if (up->over)
        return 0;
    if (keeps(up)) {
        keep = buffer_room(&up->kept, room);
        if (!keep)
            return -ENOMEM;
    }
    n = stream->source(stream->context, buf, room);
    if (n < 0)
        return n;
    if ((size_t)n > room)
        return -EINVAL;
    up->over = n == 0;
    if (keep && n > 0) {
        memcpy(keep, buf, (size_t)n);
        up->kept.end += (size_t)n;
    }
    up->read += (size_t)n;
    up->at = up->read;
    return n;
}

void up_forget(struct up *up, uint64_t off) {
    size_t len = buffer_len(&up->kept);

    if (off <= up->sure)
        return;
    up->sure = off < up->read ? off : up->read;
    if (len > up->read - up->sure)
        up->kept.start = up->kept.end - (up->read - up->sure);
}

void up_credited(struct request *request, uint64_t bytes) {
    struct up *up = &request->up;

    if (bytes > UINT64_MAX - up->credit)
        up->credit = UINT64_MAX;
    else
        up->credit += bytes;
    if (up->kind != UP_STDIN)
        return;
    if (up->credit > STDIN_AHEAD)
        up->credit = STDIN_AHEAD;
    up_forget(up, bytes < up->at - up->sure ? up->sure + bytes : up->at);
}

/*
 * The first `started` tells where the program's stdin is before ours: the caller's affair. A later
 * one, how much of ours arrived; beyond what we sent, somebody else wrote too.
 */
int up_started(struct request *request, const msgpack_object *params) {
    struct up *up = &request->up;
    uint64_t taken;

    if (!up->held)
        return 0;
    up->held = false;
    if (up->kind == UP_INPUT) {
        up->at = up->sure;
        return 0;
    }
    if (!guestproto_get_uint(params, "stdin", &taken))
        taken = 0;
    if (!up->based) {
        up->base = taken;
        up->based = true;
        return 0;
    }
    taken = taken > up->base ? taken - up->base : 0;
    if (taken < up->sure)
        return request_breach(request, "stdin that was taken is asked for again");
    up->at = taken < up->read ? taken : up->read;
    up_forget(up, up->at);
    return 0;
}
