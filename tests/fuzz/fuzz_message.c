/*
 * A body, judged by message_check and by msgpack-c: what the check lets through msgpack-c takes
 * whole, and what it refuses msgpack-c refuses too, but for what the protocol forbids on top
 * (extensions, nesting, object counts).
 *
 * The input is a body; a corpus of whole frames does too, its headers are part of the noise.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/message.h"

#define NESTING 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool truth) {
    if (!truth)
        abort();
}

/* msgpack-c alone: true when `body` is one whole value and nothing after it. */
static bool unpacks(struct slice body) {
    msgpack_zone zone;
    msgpack_object root;
    size_t used = 0;
    bool whole;

    expect(msgpack_zone_init(&zone, 1024));
    whole = msgpack_unpack((const char *)body.data, body.len, &used, &zone, &root) ==
            MSGPACK_UNPACK_SUCCESS;
    msgpack_zone_destroy(&zone);
    return whole;
}

/* Bytes that could be the head of an extension, which only we refuse, or of an array or map whose
 * 16 or 32 bit size msgpack-c would allocate for. Inside of a str they are neither, and the body is
 * then judged less. */
static bool may_differ(struct slice body) {
    for (size_t i = 0; i < body.len; i++) {
        uint8_t byte = body.data[i];

        if ((byte >= 0xc7 && byte <= 0xc9) || (byte >= 0xd4 && byte <= 0xd8) || byte >= 0xdc)
            if (byte < 0xe0)
                return true;
    }
    return false;
}

/* Every object is where it says it is: inside of the body, nested no deeper than allowed. */
static void walk(const msgpack_object *object, struct slice body, unsigned depth) {
    const char *start = (const char *)body.data;
    const char *end = start + body.len;

    switch (object->type) {
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        if (object->via.str.size == 0) /* its pointer may be NULL */
            break;
        expect(object->via.str.ptr >= start && object->via.str.ptr <= end &&
               object->via.str.size <= (size_t)(end - object->via.str.ptr));
        break;
    case MSGPACK_OBJECT_ARRAY:
        expect(depth < NESTING);
        for (uint32_t i = 0; i < object->via.array.size; i++)
            walk(&object->via.array.ptr[i], body, depth + 1);
        break;
    case MSGPACK_OBJECT_MAP:
        expect(depth < NESTING);
        for (uint32_t i = 0; i < object->via.map.size; i++) {
            walk(&object->via.map.ptr[i].key, body, depth + 1);
            walk(&object->via.map.ptr[i].val, body, depth + 1);
        }
        break;
    case MSGPACK_OBJECT_EXT:
        abort();
    default:
        break;
    }
}

static void check_message(struct slice body, const struct message *message, int r) {
    if (message->kind == MESSAGE_RESPONSE) {
        walk(&message->error, body, 1);
        walk(&message->result, body, 1);
        expect((message->error.type == MSGPACK_OBJECT_NIL) !=
               (message->result.type == MSGPACK_OBJECT_NIL));
        return;
    }
    if (r == MESSAGE_METHOD)
        return;
    expect(utf8_valid(message->method.data, message->method.len));
    if (r == MESSAGE_PARAMS)
        return;
    expect(message->params.type == MSGPACK_OBJECT_MAP);
    walk(&message->params, body, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    struct slice body = {exact, size};
    struct message message;
    int checked, r;

    memcpy(exact, data, size);
    checked = message_check(body, NESTING);
    r = message_decode(body, NESTING, &message);
    if (checked == 0) {
        expect(unpacks(body));
        expect(r == 0 || r == MESSAGE_SHAPE || r == MESSAGE_METHOD || r == MESSAGE_PARAMS);
    } else {
        expect(r == checked);
        if (checked == MESSAGE_TRUNCATED && !may_differ(body))
            expect(!unpacks(body));
    }
    if (r == 0 || r == MESSAGE_METHOD || r == MESSAGE_PARAMS) {
        check_message(body, &message, r);
        message_deinit(&message);
        message_deinit(&message);
    }
    /* The largest limit that msgpack-c's own stack can hold must hold there too. */
    if (message_check(body, UINT32_MAX) == 0)
        expect(unpacks(body));
    free(exact);
    return 0;
}
