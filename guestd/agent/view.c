#include "agent/view.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static const struct store_head *head(const struct view *view) {
    return (const struct store_head *)view->base;
}

static const struct store_ring *ring(const struct view *view, unsigned c) {
    return &head(view)->ring[c];
}

static bool within(uint64_t at, uint64_t len, uint64_t total) {
    return at >= sizeof(struct store_head) && at <= total && len <= total - at;
}

/* The supervisor is trusted, its bugs are not: a wrong number here would be a read outside of the
 * mapping. */
static bool plausible(const struct store_head *store, uint64_t total) {
    return store->magic == STORE_MAGIC && store->version >= LINK_LEAST &&
           store->facts_len <= LINK_FACTS_MAX && within(store->facts_at, store->facts_len, total) &&
           within(store->ring[0].at, store->ring[0].size, total) &&
           within(store->ring[1].at, store->ring[1].size, total);
}

int view_open(int fd, struct view *ret) {
    struct stat st;
    void *base;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)sizeof(struct store_head))
        return -EBADMSG;
    base = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    if (!plausible(base, (uint64_t)st.st_size)) {
        munmap(base, (size_t)st.st_size);
        return -EBADMSG;
    }
    *ret = (struct view){.base = base, .len = (size_t)st.st_size};
    return 0;
}

void view_close(struct view *view) {
    if (view->base)
        munmap((void *)view->base, view->len);
    *view = (struct view){0};
}

void view_rest(const struct view *view) {
    if (view->base)
        madvise((void *)view->base, view->len, MADV_DONTNEED);
}

struct slice view_facts(const struct view *view) {
    if (!view->base)
        return (struct slice){0};
    return (struct slice){view->base + head(view)->facts_at, (size_t)head(view)->facts_len};
}

uint64_t view_end(const struct view *view, unsigned c) {
    return view->base ? atomic_load_explicit(&ring(view, c)->end, memory_order_acquire) : 0;
}

uint64_t view_size(const struct view *view, unsigned c) {
    return view->base ? ring(view, c)->size : 0;
}

bool view_eof(const struct view *view, unsigned c) {
    return !view->base || atomic_load_explicit(&ring(view, c)->eof, memory_order_acquire);
}

bool view_blocks(const struct view *view) {
    for (unsigned c = 0; view->base && c < 2; c++)
        if (atomic_load_explicit(&ring(view, c)->mode, memory_order_relaxed) == STORE_BLOCK)
            return true;
    return false;
}

bool view_keeps_head(const struct view *view, unsigned c) {
    uint32_t mode = STORE_HEAD;

    if (view->base)
        mode = atomic_load_explicit(&ring(view, c)->mode, memory_order_relaxed);
    return mode == STORE_HEAD || mode == STORE_KILL;
}

uint64_t view_oldest(const struct view *view, unsigned c) {
    return view->base ? atomic_load_explicit(&ring(view, c)->oldest, memory_order_acquire) : 0;
}

struct slice view_peek(const struct view *view, unsigned c, uint64_t off, uint64_t end) {
    uint64_t size = view_size(view, c), at, n;

    if (off >= end || size == 0)
        return (struct slice){0};
    at = view_keeps_head(view, c) ? off : off % size;
    if (at >= size)
        return (struct slice){0};
    n = end - off < size - at ? end - off : size - at;
    return (struct slice){view->base + ring(view, c)->at + at, (size_t)n};
}

uint64_t view_copy(const struct view *view, unsigned c, uint64_t off, void *out, size_t len) {
    uint8_t *to = out;
    uint64_t end = off + len, oldest;

    for (uint64_t at = off; at < end;) {
        struct slice part = view_peek(view, c, at, end);

        if (part.len == 0)
            return end; /* past what is kept */
        memcpy(to, part.data, part.len);
        to += part.len;
        at += part.len;
    }
    /* The supervisor raises `oldest` before it overwrites: what is below it now may have been
     * overwritten under us. */
    atomic_thread_fence(memory_order_seq_cst);
    oldest = view_oldest(view, c);
    if (oldest <= off)
        return off;
    return oldest < end ? oldest : end;
}
