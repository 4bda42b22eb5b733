#include "agent/out.h"

#include <stdlib.h>
#include <string.h>

#include "proto/frame.h"

static bool reserve(struct out *out, size_t more) {
    size_t cap = out->cap;
    uint8_t *data;

    if (out->failed)
        return false;
    if (out->len + more <= out->cap)
        return true;
    while (cap < out->len + more)
        cap *= 2;
    data = realloc(out->data, cap);
    if (!data) {
        out->failed = true;
        return false;
    }
    out->data = data;
    out->cap = cap;
    return true;
}

static int pack_write(void *data, const char *bytes, size_t len) {
    struct out *out = data;

    if (!reserve(out, len))
        return -1;
    memcpy(out->data + out->len, bytes, len);
    out->len += len;
    return 0;
}

struct out *out_new(size_t hint) {
    struct out *out = calloc(1, sizeof *out);

    if (!out)
        return NULL;
    out->cap = FRAME_HEADER + (hint < 124 ? 124 : hint);
    out->data = malloc(out->cap);
    if (!out->data) {
        free(out);
        return NULL;
    }
    out->len = FRAME_HEADER;
    msgpack_packer_init(&out->pk, out, pack_write);
    return out;
}

struct out *out_free(struct out *out) {
    if (!out)
        return NULL;
    free(out->data);
    free(out);
    return NULL;
}

void out_append(struct out *out, const void *data, size_t len) {
    pack_write(out, data, len);
}

void out_seal(struct out *out, size_t more) {
    frame_header(out->data, (uint32_t)(out_body(out) + more));
}

size_t out_body(const struct out *out) {
    return out->len - FRAME_HEADER;
}

void out_queue_init(struct out_queue *queue) {
    *queue = (struct out_queue){.last = &queue->first};
}

void out_queue_push(struct out_queue *queue, struct out *out) {
    out->next = NULL;
    *queue->last = out;
    queue->last = &out->next;
    queue->bytes += out->len - out->sent;
}

struct out *out_queue_pop(struct out_queue *queue) {
    struct out *out = queue->first;

    if (!out)
        return NULL;
    queue->first = out->next;
    if (!queue->first)
        queue->last = &queue->first;
    queue->bytes -= out->len - out->sent;
    return out;
}

void out_queue_deinit(struct out_queue *queue) {
    struct out *out;

    while ((out = out_queue_pop(queue)))
        out_free(out);
}
