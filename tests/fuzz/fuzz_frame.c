/*
 * A byte stream as a connection reads it: whatever the pieces it comes in, the same frames are
 * found, and none of them reaches past what is there. The first byte says how large the pieces are.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"
#include "proto/message.h"

#define MAX_BODY 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool truth) {
    if (!truth)
        abort();
}

/* Takes all frames at the start of `data`; returns the bytes they used, the number of frames in
 * *frames, and 1 more in *frames than can be when the stream is over for good. */
static size_t take(const uint8_t *data, size_t len, size_t *frames, bool *ret_over) {
    size_t at = 0;

    *ret_over = false;
    for (;;) {
        struct slice body = {0};
        struct message message;
        size_t need = 0;
        int r = frame_pop(data + at, len - at, MAX_BODY, &body, &need);

        if (r < 0) {
            expect(r == -EMSGSIZE);
            *ret_over = true;
            return at;
        }
        if (r == 0) {
            expect(need > len - at && need <= FRAME_HEADER + MAX_BODY);
            return at;
        }
        expect(body.data == data + at + FRAME_HEADER && body.len <= len - at - FRAME_HEADER);
        at += FRAME_HEADER + body.len;
        (*frames)++;
        r = message_decode(body, 16, &message);
        if (r == 0 || r == MESSAGE_METHOD || r == MESSAGE_PARAMS)
            message_deinit(&message);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t whole = 0, pieces = 0, at = 0, used, piece;
    bool over, over_in_pieces = false;

    if (size == 0)
        return 0;
    piece = 1 + data[0] % 143;
    data++;
    size--;
    used = take(data, size, &whole, &over);

    for (size_t len = 0; len < size && !over_in_pieces;) {
        uint8_t *exact;

        len = len + piece < size ? len + piece : size;
        /* A fresh block each time, so that a read past what has come is seen. */
        exact = malloc(len - at ? len - at : 1);
        memcpy(exact, data + at, len - at);
        at += take(exact, len - at, &pieces, &over_in_pieces);
        free(exact);
    }
    expect(pieces == whole && at == used && over_in_pieces == over);
    return 0;
}
