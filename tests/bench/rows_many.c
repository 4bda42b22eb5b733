/* Rows about as many processes as there can be. */
#include "bench.h"

#include <msgpack.h>
#include <stdio.h>

#include "proto/message.h"

enum {
    MANY = 4096,
    AT_ONCE = 128,
    LISTS = 51,
};

static void start_sleep(struct client *client, unsigned i) {
    msgpack_sbuffer params;
    msgpack_packer pk;
    char tag[32];

    snprintf(tag, sizeof tag, "process-%u", i);
    msgpack_sbuffer_init(&params);
    msgpack_packer_init(&pk, &params, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 4);
    pack_kv_text(&pk, "cmd", "sleep");
    pack_text(&pk, "args");
    msgpack_pack_array(&pk, 1);
    pack_text(&pk, "600");
    pack_kv_bool(&pk, "background", true);
    pack_kv_text(&pk, "tag", tag);
    client_request(client, "exec", params.data, params.size);
    msgpack_sbuffer_destroy(&params);
}

/* The next response, which is no error. */
static void next_response(struct client *client, struct message *ret) {
    struct slice body;

    body.data = client_frame(client, &body.len);
    if (message_decode(body, 16, ret) != 0)
        die("decode");
    if (ret->kind != MESSAGE_RESPONSE || ret->error.type != MSGPACK_OBJECT_NIL) {
        msgpack_object_print(stderr, ret->error);
        die(" is the answer");
    }
}

/* They come in any order. */
static void start_many(struct client *client, unsigned first) {
    struct message message;

    for (unsigned i = 0; i < AT_ONCE; i++)
        start_sleep(client, first + i);
    for (unsigned i = 0; i < AT_ONCE; i++) {
        next_response(client, &message);
        message_deinit(&message);
    }
}

/* How many process.list tells of. */
static unsigned list(struct client *client) {
    struct message message;
    unsigned n = 0;

    client_request(client, "process.list", "\x80", 1);
    next_response(client, &message);
    if (message.result.via.map.ptr[0].val.type == MSGPACK_OBJECT_ARRAY)
        n = message.result.via.map.ptr[0].val.via.array.size;
    message_deinit(&message);
    return n;
}

void bench_list(const struct guestd *guestd) {
    static double took[LISTS];
    struct client client;
    double typical;

    client_open(&client, guestd);
    for (unsigned i = 0; i < MANY; i += AT_ONCE)
        start_many(&client, i);
    for (unsigned i = 0; i < LISTS; i++) {
        double start = now_us();

        if (list(&client) != MANY)
            die("some of them aren't listed");
        took[i] = now_us() - start;
    }
    client_close(&client);
    typical = median(took, LISTS);
    row("list of 4096 processes, p50", typical / 1e3, "ms", true, 50, "the slowest of %d %.1f ms",
        LISTS, took[LISTS - 1] / 1e3);
}
