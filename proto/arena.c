/* The arena of one request: small things share a block, a large one has its own. */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "proto/fields.h"

#define BLOCK_BYTES 2032 /* with malloc's own header just under 2 KiB: most requests fit one */

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    alignas(max_align_t) uint8_t bytes[];
};

/* Not zeroed. The block in front is the one that is being filled; a large one goes behind it. */
static void *take(struct arena *arena, size_t len) {
    const size_t align = alignof(max_align_t);
    struct arena_block *front = arena->blocks;
    struct arena_block *block;
    size_t size, rounded;

    if (len > SIZE_MAX - sizeof(*block) - align)
        return NULL;
    rounded = (len + align - 1) / align * align;
    if (front && front->size - front->used >= rounded) {
        front->used += rounded;
        return front->bytes + front->used - rounded;
    }
    size = rounded > BLOCK_BYTES / 4 ? rounded : BLOCK_BYTES - sizeof(*block);
    block = malloc(sizeof(*block) + size);
    if (!block)
        return NULL;
    block->used = rounded;
    block->size = size;
    if (front && size == rounded) {
        block->next = front->next;
        front->next = block;
    } else {
        block->next = front;
        arena->blocks = block;
    }
    return block->bytes;
}

void *arena_alloc(struct arena *arena, size_t len) {
    void *ptr = take(arena, len);

    return ptr ? memset(ptr, 0, len) : NULL;
}

char *arena_strndup(struct arena *arena, const void *text, size_t len) {
    char *copy = len < SIZE_MAX ? take(arena, len + 1) : NULL;

    if (!copy)
        return NULL;
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void arena_deinit(struct arena *arena) {
    while (arena->blocks) {
        struct arena_block *block = arena->blocks;

        arena->blocks = block->next;
        free(block);
    }
}
