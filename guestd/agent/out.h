/*
 * A frame on its way out: packed by msgpack-c straight behind its own header, then queued, then
 * written.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct out {
    struct out *next;
    msgpack_packer pk;
    uint8_t *data; /* header and body */
    size_t len, cap;
    size_t sent; /* bytes the socket has taken */
    bool failed; /* memory ran out while packing: len is meaningless */
};

/* An empty frame with room for `hint` bytes. NULL without memory. */
struct out *out_new(size_t hint);
/* Takes NULL; returns NULL. */
struct out *out_free(struct out *out);

/* Copies `len` bytes behind what is there. */
void out_append(struct out *out, const void *data, size_t len);

/* Writes the header: the body is everything packed so far plus `more` bytes that follow from
 * elsewhere. */
void out_seal(struct out *out, size_t more);

/* Bytes of the body so far. */
size_t out_body(const struct out *out);

/* First-in-first-out. */
struct out_queue {
    struct out *first, **last;
    size_t bytes;
};
void out_queue_init(struct out_queue *queue);
void out_queue_push(struct out_queue *queue, struct out *out);
struct out *out_queue_pop(struct out_queue *queue);
void out_queue_deinit(struct out_queue *queue);
