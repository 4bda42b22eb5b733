#include "agent/view.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* How long the store is: a head at least. Or -errno. */
static int64_t length(int fd) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    return st.st_size < (off_t)sizeof(struct store_head) ? -EBADMSG : st.st_size;
}

static int map(int fd, size_t len, struct view *ret) {
    void *base = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return -errno;
    *ret = (struct view){.base = base, .len = len};
    return 0;
}

int view_open(int fd, struct view *ret) {
    int64_t len = length(fd);
    int r = len < 0 ? (int)len : map(fd, (size_t)len, ret);

    if (r == 0 && !plausible(head(ret), ret->len)) {
        view_close(ret);
        r = -EBADMSG;
    }
    return r;
}

static int read_head(int fd, struct store_head *ret) {
    ssize_t n = pread(fd, ret, sizeof(*ret), 0);

    if (n < 0)
        return -errno;
    return n == (ssize_t)sizeof(*ret) ? 0 : -EBADMSG;
}

static bool ended(const struct store_head *store) {
    return store->ring[0].eof && store->ring[1].eof;
}

int view_open_ended(int fd, struct view *ret) {
    int64_t len = length(fd);
    bool over, kept = false, blocks = false;
    struct store_head store;
    int r = len < 0 ? (int)len : read_head(fd, &store);

    /* Again: a copy may have `end` of before an `eof` that it has too. From the eof on it stays. */
    if (r == 0 && ended(&store))
        r = read_head(fd, &store);
    if (r == 0 && !plausible(&store, (uint64_t)len))
        r = -EBADMSG;
    if (r < 0)
        return r;
    over = ended(&store);
    for (unsigned c = 0; c < 2; c++) {
        blocks |= store.ring[c].mode == STORE_BLOCK;
        kept |= store.ring[c].end > store.ring[c].oldest;
    }
    *ret = (struct view){0};
    if (kept || !over)
        r = map(fd, (size_t)len, ret);
    if (r < 0)
        return r;
    ret->over = over;
    ret->blocks = blocks;
    for (unsigned c = 0; c < 2; c++) {
        ret->end[c] = store.ring[c].end;
        ret->oldest[c] = store.ring[c].oldest;
    }
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

struct slice view_read_facts(int fd, uint8_t *room) {
    struct store_head store;
    ssize_t n = pread(fd, room, STORE_PAGE, 0);

    if (n < (ssize_t)sizeof(store))
        return (struct slice){0};
    memcpy(&store, room, sizeof(store));
    if (within(store.facts_at, store.facts_len, (uint64_t)n))
        return (struct slice){room + store.facts_at, (size_t)store.facts_len};
    if (store.facts_len > LINK_FACTS_MAX ||
        pread(fd, room, store.facts_len, (off_t)store.facts_at) != (ssize_t)store.facts_len)
        return (struct slice){0};
    return (struct slice){room, (size_t)store.facts_len};
}

uint64_t view_end(const struct view *view, unsigned c) {
    if (view->over)
        return view->end[c];
    return view->base ? atomic_load_explicit(&ring(view, c)->end, memory_order_acquire) : 0;
}

uint64_t view_size(const struct view *view, unsigned c) {
    return view->base ? ring(view, c)->size : 0;
}

bool view_eof(const struct view *view, unsigned c) {
    return view->over || !view->base ||
           atomic_load_explicit(&ring(view, c)->eof, memory_order_acquire);
}

bool view_blocks(const struct view *view) {
    if (view->over)
        return view->blocks;
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
    if (view->over)
        return view->oldest[c];
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
