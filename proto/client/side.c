/*
 * Requests beside a stream: the size of the terminal one looks at, and what one types into a
 * program that one is attached to. One of each is in flight at a time; the newest size wins.
 */
#include <errno.h>

#include "proto/client/request.h"

/* A piece of input; the guest refuses one for which it has no room whole. */
#define PIECE_BYTES (64u << 10)
/* How long to wait when it has none: the program reads when it likes. */
#define BUSY_MS 20

void side_begin(struct request *request) {
    struct side *side = &request->side;

    if (side->size_id != 0 && side->size == 0)
        side->size = side->size_sent;
    side->input_repeats = side->input_id != 0 || side->input_repeats;
    side->size_id = side->input_id = 0;
    side->input_due_ms = 0;
    if (request->attempt == 0)
        side->input_off = request->ask->input_off;
}

static int queue_size(struct request *request) {
    struct side *side = &request->side;
    uint32_t size = atomic_exchange(&request->client->size, 0);

    if (size != 0)
        side->size = size;
    if (side->size == 0 || side->size_id != 0 || request->pid == 0 || request->failed != 0)
        return 0;
    side->size_id = ++request->client->next_id;
    side->size_sent = side->size;
    side->size = 0;
    return send_resize(request, side->size_id, side->size_sent) ? 0 : -ENOMEM;
}

static int queue_input(struct request *request) {
    struct side *side = &request->side;
    struct up *up = &request->up;
    uint8_t piece[PIECE_BYTES];
    size_t room = request->client->stdin_buffer;
    ssize_t n;

    if (up->kind != UP_INPUT || up->held || !up->open || side->input_id != 0 ||
        request->failed != 0 || wire_now_ms() < side->input_due_ms)
        return 0;
    if (up_needs_source(request) && request->stream->poll_source && !up->ready)
        return 0;
    n = up_fill(request, piece, room < sizeof(piece) ? room : sizeof(piece));
    if (n <= 0) {
        if (n == 0)
            up->open = false;
        return n == -EAGAIN ? 0 : (int)n;
    }
    side->input_id = ++request->client->next_id;
    /* Only a repeat says where it belongs: others may write to this program too, and what they
     * wrote meanwhile must not make ours a repeat. */
    return send_input(request, side->input_id, side->input_repeats ? side->input_off : UINT64_MAX,
                      piece, (size_t)n)
               ? 0
               : -ENOMEM;
}

int side_queue(struct request *request) {
    int r = queue_size(request);

    return r == 0 ? queue_input(request) : r;
}

static int on_input(struct request *request, const struct message *message) {
    struct side *side = &request->side;
    struct up *up = &request->up;
    bool closed = false;

    side->input_id = 0;
    if (guestproto_get_is(&message->error, "code", "busy")) {
        up->at = up->sure;
        side->input_due_ms = wire_now_ms() + BUSY_MS;
        return 1;
    }
    side->input_repeats = false;
    if (message->error.type != MSGPACK_OBJECT_NIL) {
        /* It has no open stdin, or is gone: nobody reads what would still come. */
        up->open = false;
        return 1;
    }
    if (!guestproto_get_uint(&message->result, "off", &side->input_off))
        return request_breach(request, "an answer to input without off");
    guestproto_get_bool(&message->result, "closed", &closed);
    if (closed)
        up->open = false;
    up_forget(up, up->at);
    if (request->stream->sent)
        request->stream->sent(request->stream->context, up->sure);
    return 1;
}

int side_answered(struct request *request, const struct message *message) {
    struct side *side = &request->side;

    if (side->size_id != 0 && message->msgid == side->size_id) {
        /* A program that has just ended, or has no terminal, has no size either. */
        side->size_id = 0;
        return 1;
    }
    if (side->input_id != 0 && message->msgid == side->input_id)
        return on_input(request, message);
    return 0;
}
