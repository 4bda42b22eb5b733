#include "agent/buffer.h"

#include <assert.h>
#include <stdlib.h>

enum {
    LARGE = 128 << 10,
    KEPT = 8,
};

static struct buffer *kept[KEPT];
static unsigned n_kept;

struct buffer *buffer_new(size_t cap) {
    struct buffer *buffer;

    for (unsigned i = 0; cap >= LARGE && i < n_kept; i++) {
        if (kept[i]->cap < cap || kept[i]->cap > 2 * cap)
            continue;
        buffer = kept[i];
        kept[i] = kept[--n_kept];
        buffer->refs = 1;
        return buffer;
    }
    buffer = malloc(sizeof *buffer + cap);
    if (!buffer)
        return NULL;
    buffer->refs = 1;
    buffer->cap = cap;
    return buffer;
}

struct buffer *buffer_ref(struct buffer *buffer) {
    assert(buffer->refs > 0);
    buffer->refs++;
    return buffer;
}

void buffer_unref(struct buffer *buffer) {
    if (!buffer)
        return;
    assert(buffer->refs > 0);
    if (--buffer->refs > 0)
        return;
    if (buffer->cap >= LARGE && n_kept < KEPT)
        kept[n_kept++] = buffer;
    else
        free(buffer);
}

void buffer_trim(void) {
    while (n_kept > 0)
        free(kept[--n_kept]);
}
