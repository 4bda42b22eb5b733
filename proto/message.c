/*
 * The walk that believes no length, and the decode that may then believe them all.
 *
 * msgpack-c 4 allocates 24 bytes an item from an array's header before it has seen one item, so a
 * ten-byte frame could ask for 100 GiB. message_check counts first; what it lets through costs at
 * most 24 bytes × MAX_OBJECTS.
 */
#include "proto/message.h"

#include <errno.h>
#include <string.h>

#include "proto/limits.h"

/* msgpack-c's own stack of open containers. */
#define NESTING_CEILING 32

/* One object's first bytes: what follows them. */
struct head {
    size_t size;    /* of the head itself, payload of a scalar included; 0: no such object */
    size_t payload; /* bytes of a str or bin */
    uint64_t items; /* objects inside: an array's elements, twice a map's pairs */
    bool container;
};

static uint64_t big_endian(const uint8_t *bytes, size_t width) {
    uint64_t value = 0;

    for (size_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return value;
}

/* Reads the head at `at`; .size is 0 when it is cut off or not one of ours (0xc1, extensions). */
static struct head head_read(const uint8_t *at, size_t left) {
    static const uint8_t scalar_size[0x20] = {
        /* c0 nil, c2 c3 bool */ [0x00] = 1,
        [0x02] = 1,
        [0x03] = 1,
        /* ca cb float */[0x0a] = 5,
        [0x0b] = 9,
        /* cc…cf uint */[0x0c] = 2,
        [0x0d] = 3,
        [0x0e] = 5,
        [0x0f] = 9,
        /* d0…d3 int */[0x10] = 2,
        [0x11] = 3,
        [0x12] = 5,
        [0x13] = 9,
    };
    struct head head = {0};
    size_t width = 0;
    uint8_t byte;

    if (left == 0)
        return head;
    byte = *at;
    if (byte < 0x80 || byte >= 0xe0) { /* fixint */
        head.size = 1;
    } else if (byte < 0x90) { /* fixmap */
        head = (struct head){.size = 1, .items = 2 * (byte & 0x0fu), .container = true};
    } else if (byte < 0xa0) { /* fixarray */
        head = (struct head){.size = 1, .items = byte & 0x0fu, .container = true};
    } else if (byte < 0xc0) { /* fixstr */
        head = (struct head){.size = 1, .payload = byte & 0x1fu};
    } else if (scalar_size[byte - 0xc0]) {
        head.size = scalar_size[byte - 0xc0];
    } else if (byte >= 0xc4 && byte <= 0xc6) { /* bin 8, 16, 32 */
        width = (size_t)1 << (byte - 0xc4);
    } else if (byte >= 0xd9 && byte <= 0xdb) { /* str 8, 16, 32 */
        width = (size_t)1 << (byte - 0xd9);
    } else if (byte >= 0xdc) { /* array 16, 32, map 16, 32 */
        width = byte & 1 ? 4 : 2;
        head.container = true;
    }

    if (width) {
        if (left < 1 + width)
            return (struct head){0};
        head.size = 1 + width;
        if (head.container)
            head.items = big_endian(at + 1, width) * (byte >= 0xde ? 2 : 1);
        else
            head.payload = big_endian(at + 1, width);
    }
    if (head.size > left || head.payload > left - head.size)
        return (struct head){0};
    return head;
}

int message_check(struct slice body, unsigned nesting_max) {
    uint64_t open[NESTING_CEILING]; /* objects still to come in each open container */
    const uint8_t *at = body.data;
    size_t left = body.len;
    uint64_t objects = 1;
    unsigned depth = 0;

    if (nesting_max > NESTING_CEILING)
        nesting_max = NESTING_CEILING;
    for (;;) {
        struct head head = head_read(at, left);

        if (head.size == 0)
            return MESSAGE_TRUNCATED;
        at += head.size + head.payload;
        left -= head.size + head.payload;
        if (depth)
            open[depth - 1]--;
        if (head.container) {
            if (depth == nesting_max)
                return MESSAGE_NESTED;
            if (head.items > left) /* each is at least one byte */
                return MESSAGE_TRUNCATED;
            objects += head.items;
            if (objects > MAX_OBJECTS)
                return MESSAGE_OBJECTS;
            open[depth++] = head.items;
        }
        while (depth && open[depth - 1] == 0)
            depth--;
        if (depth == 0)
            return left ? MESSAGE_TRUNCATED : 0;
    }
}

static bool is_u32(const msgpack_object *object) {
    return object->type == MSGPACK_OBJECT_POSITIVE_INTEGER && object->via.u64 <= UINT32_MAX;
}

static bool is_text(const msgpack_object *object) {
    return object->type == MSGPACK_OBJECT_STR &&
           utf8_valid(object->via.str.ptr, object->via.str.size);
}

/* msgpack-c says NULL for an empty str; a slice that was given does not. */
static struct slice text_slice(const msgpack_object *object) {
    const char *text = object->via.str.size ? object->via.str.ptr : "";

    return (struct slice){(const uint8_t *)text, object->via.str.size};
}

static int request_shape(const msgpack_object *items, struct message *message) {
    if (!is_u32(&items[1]))
        return MESSAGE_SHAPE;
    message->msgid = (uint32_t)items[1].via.u64;
    if (!is_text(&items[2]))
        return MESSAGE_METHOD;
    message->method = text_slice(&items[2]);
    if (items[3].type != MSGPACK_OBJECT_MAP)
        return MESSAGE_PARAMS;
    message->params = items[3];
    return 0;
}

static int response_shape(const msgpack_object *items, struct message *message) {
    bool failed = items[2].type != MSGPACK_OBJECT_NIL;
    const msgpack_object *given = failed ? &items[2] : &items[3];
    const msgpack_object *other = failed ? &items[3] : &items[2];

    if (!is_u32(&items[1]) || given->type != MSGPACK_OBJECT_MAP ||
        other->type != MSGPACK_OBJECT_NIL)
        return MESSAGE_SHAPE;
    message->msgid = (uint32_t)items[1].via.u64;
    message->error = items[2];
    message->result = items[3];
    return 0;
}

static int notification_shape(const msgpack_object *items, struct message *message) {
    if (!is_text(&items[1]) || items[2].type != MSGPACK_OBJECT_MAP)
        return MESSAGE_SHAPE;
    message->method = text_slice(&items[1]);
    message->params = items[2];
    return 0;
}

static int shape(const msgpack_object *root, struct message *message) {
    const msgpack_object *items;
    uint32_t n;

    if (root->type != MSGPACK_OBJECT_ARRAY || root->via.array.size == 0)
        return MESSAGE_SHAPE;
    items = root->via.array.ptr;
    n = root->via.array.size;
    if (items[0].type != MSGPACK_OBJECT_POSITIVE_INTEGER)
        return MESSAGE_SHAPE;
    switch (items[0].via.u64) {
    case MESSAGE_REQUEST:
        message->kind = MESSAGE_REQUEST;
        return n == 4 ? request_shape(items, message) : MESSAGE_SHAPE;
    case MESSAGE_RESPONSE:
        message->kind = MESSAGE_RESPONSE;
        return n == 4 ? response_shape(items, message) : MESSAGE_SHAPE;
    case MESSAGE_NOTIFICATION:
        message->kind = MESSAGE_NOTIFICATION;
        return n == 3 ? notification_shape(items, message) : MESSAGE_SHAPE;
    default:
        return MESSAGE_SHAPE;
    }
}

int message_decode(struct slice body, unsigned nesting_max, struct message *ret) {
    struct message message = {0};
    msgpack_object root;
    size_t used = 0;
    int r;

    r = message_check(body, nesting_max);
    if (r)
        return r;
    if (!msgpack_zone_init(&message.zone, 1024))
        return -ENOMEM;
    r = msgpack_unpack((const char *)body.data, body.len, &used, &message.zone, &root);
    if (r != MSGPACK_UNPACK_SUCCESS) {
        /* After the check only memory can be missing; tests/fuzz/fuzz_message.c holds the two
         * parsers to that. */
        message_deinit(&message);
        return r == MSGPACK_UNPACK_NOMEM_ERROR ? -ENOMEM : MESSAGE_TRUNCATED;
    }

    r = shape(&root, &message);
    if (r && r != MESSAGE_METHOD && r != MESSAGE_PARAMS) {
        message_deinit(&message);
        return r;
    }
    *ret = message;
    return r;
}

void message_deinit(struct message *message) {
    if (message->zone.chunk_list.head)
        msgpack_zone_destroy(&message->zone);
    memset(message, 0, sizeof(*message));
}
