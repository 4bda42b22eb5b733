#include "supervisor/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

/* What each ring may hold whatever the others do. */
#define STORE_SHARE (64u << 10)

/* Where bytes go that no store keeps. Never read. */
static char discarded[64 << 10];

static uint64_t pages(uint64_t bytes) {
    return (bytes + STORE_PAGE - 1) & ~(uint64_t)(STORE_PAGE - 1);
}

static int lay_out(struct store *store, const void *facts, size_t facts_len) {
    store->fd = memfd_create("guestd-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (store->fd < 0)
        return -errno;
    struct store_head head = {.magic = STORE_MAGIC, .version = LINK_VERSION};
    /* Small facts lie in the first page, behind the header: a page is a sixth of a store's cost. */
    bool small = facts_len <= STORE_PAGE - sizeof head;
    uint64_t at = STORE_PAGE;
    for (unsigned c = 0; c < 2; c++) {
        struct store_channel *channel = &store->channel[c];
        channel->at = at;
        channel->eof = channel->size == 0;
        head.ring[c].at = at;
        head.ring[c].size = channel->size;
        head.ring[c].mode = channel->mode;
        head.ring[c].eof = channel->eof;
        at += pages(channel->size);
    }
    head.facts_at = small ? sizeof head : at;
    head.facts_len = facts_len;
    store->mapped = at;
    if (ftruncate(store->fd, (off_t)(small ? at : at + pages(facts_len))) < 0)
        return -errno;
    /* By pwrite, not through the mapping: memory that can't be had is an error here and SIGBUS
     * there. */
    if (pwrite(store->fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        (facts_len > 0 &&
         pwrite(store->fd, facts, facts_len, (off_t)head.facts_at) != (ssize_t)facts_len))
        return -ENOMEM;
    store->head = mmap(NULL, store->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, store->fd, 0);
    if (store->head == MAP_FAILED) {
        store->head = NULL;
        return -errno;
    }
    /* Kernels before 5.1 don't know FUTURE_WRITE; there the reader is trusted to map read-only. */
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    if (fcntl(store->fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) < 0 &&
        fcntl(store->fd, F_ADD_SEALS, seals) < 0)
        return -errno;
    return 0;
}

int store_make(struct store *store, const uint64_t size[2], const uint32_t mode[2],
               const void *facts, size_t facts_len) {
    memset(store, 0, sizeof *store);
    for (unsigned c = 0; c < 2; c++) {
        store->channel[c].size = size[c];
        store->channel[c].kill_over = size[c];
        store->channel[c].mode = mode[c];
    }
    int err = lay_out(store, facts, facts_len);
    if (err < 0)
        store_deinit(store);
    return err;
}

static uint64_t held(const struct store_channel *channel) {
    return channel->end < channel->size ? channel->end : channel->size;
}

uint64_t store_held(const struct store *store) {
    return store->fd >= 0 ? held(&store->channel[0]) + held(&store->channel[1]) : 0;
}

void store_rest(struct store *store) {
    if (store->head != NULL)
        munmap(store->head, store->mapped);
    store->head = NULL;
}

void store_deinit(struct store *store) {
    if (store->budget != NULL)
        store->budget->held -= store_held(store);
    store_rest(store);
    if (store->fd >= 0)
        close(store->fd);
    store->fd = -1;
}

/* ── filling ── */

static bool keeps_first(const struct store_channel *channel) {
    return channel->mode == STORE_HEAD || channel->mode == STORE_KILL;
}

static void publish(struct store *store, unsigned c, uint64_t end) {
    uint64_t before = held(&store->channel[c]);
    store->channel[c].end = end;
    if (store->budget != NULL)
        store->budget->held += held(&store->channel[c]) - before;
    atomic_store_explicit(&store->head->ring[c].end, end, memory_order_release);
}

static void publish_oldest(struct store *store, unsigned c, uint64_t oldest) {
    store->channel[c].oldest = oldest;
    atomic_store(&store->head->ring[c].oldest, oldest);
}

void store_end(struct store *store, unsigned c) {
    store->channel[c].eof = true;
    if (store->head != NULL)
        atomic_store_explicit(&store->head->ring[c].eof, 1, memory_order_release);
}

static ssize_t read_pipe(int pipe, void *into, size_t most) {
    ssize_t got;
    do {
        got = read(pipe, into, most);
    } while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

/* Counts the bytes, keeps none of them. */
static ssize_t skip(struct store *store, unsigned c, int pipe, size_t most) {
    struct store_channel *channel = &store->channel[c];
    ssize_t got = read_pipe(pipe, discarded, most < sizeof discarded ? most : sizeof discarded);
    if (got <= 0)
        return got;
    if (!keeps_first(channel))
        publish_oldest(store, c, channel->end + (uint64_t)got);
    publish(store, c, channel->end + (uint64_t)got);
    return got;
}

/*
 * Before its first lap a ring can end where it is now: every byte stays at its place. Its memory
 * beyond was never touched, so there is none to give back.
 */
static void stop_growing(struct store *store, unsigned c) {
    struct store_channel *channel = &store->channel[c];
    if (channel->end == 0 || channel->end >= channel->size)
        return;
    channel->size = channel->end;
    atomic_store(&store->head->ring[c].size, channel->end);
}

/* The kernel had no page for the bytes: they are lost, and it is said in the way of the mode. */
static ssize_t skip_unbacked(struct store *store, unsigned c, int pipe, size_t most) {
    stop_growing(store, c);
    return skip(store, c, pipe, most);
}

/* How far the ring may grow now; a few bytes are everybody's. */
static size_t growth(struct store *store, unsigned c, size_t most) {
    const struct store_channel *channel = &store->channel[c];
    const struct store_budget *budget = store->budget;
    if (budget == NULL || channel->end >= channel->size)
        return most;
    uint64_t left = budget->most > budget->held ? budget->most - budget->held : 0;
    if (channel->end < STORE_SHARE && left < STORE_SHARE - channel->end)
        left = STORE_SHARE - channel->end;
    if (left == 0)
        stop_growing(store, c);
    return left > 0 && most > left ? left : most;
}

/* Bytes that wait in the pipe, or -errno. */
static int waiting(int pipe) {
    int bytes = 0;
    return ioctl(pipe, FIONREAD, &bytes) < 0 ? -errno : bytes;
}

/*
 * How much to read in one go: the room up to the ring's edge; 0 at the end. Where old bytes will be
 * overwritten it asks the pipe first: moving `oldest` further than the bytes that come would throw
 * away what is still good.
 */
static ssize_t room(struct store *store, unsigned c, int pipe, size_t most, bool hung_up) {
    struct store_channel *channel = &store->channel[c];
    if (keeps_first(channel))
        return (ssize_t)(most < channel->size - channel->end ? most : channel->size - channel->end);
    uint64_t edge = channel->size - channel->end % channel->size;
    if (most > edge)
        most = edge;
    if (channel->mode == STORE_BLOCK) {
        uint64_t free = channel->size - (channel->end - channel->acked);
        if (free == 0)
            return hung_up && waiting(pipe) == 0 ? 0 : -ENOBUFS;
        if (most > free)
            most = free;
    }
    if (channel->end + most <= channel->oldest + channel->size)
        return (ssize_t)most;
    int bytes = waiting(pipe);
    if (bytes < 0)
        return bytes;
    if (bytes == 0)
        return hung_up ? 0 : -EAGAIN;
    if (most > (size_t)bytes)
        most = (size_t)bytes;
    if (channel->end + most > channel->oldest + channel->size)
        publish_oldest(store, c, channel->end + most - channel->size);
    return (ssize_t)most;
}

static void took(struct store *store, unsigned c, size_t len) {
    struct store_channel *channel = &store->channel[c];
    uint64_t whole = channel->end & ~(uint64_t)(STORE_PAGE - 1);
    publish(store, c, channel->end + len);
    /* Pages that won't be touched again: programs inherit the peak of our resident set as theirs.
     */
    uint64_t done = channel->end & ~(uint64_t)(STORE_PAGE - 1);
    if (keeps_first(channel) && done > whole)
        madvise((char *)store->head + channel->at + whole, done - whole, MADV_DONTNEED);
}

ssize_t store_fill(struct store *store, unsigned c, int pipe, size_t most, bool hung_up) {
    struct store_channel *channel = &store->channel[c];
    most = growth(store, c, most);
    ssize_t got;
    if (keeps_first(channel) && channel->end >= channel->size) {
        got = skip(store, c, pipe, most);
    } else {
        ssize_t want = room(store, c, pipe, most, hung_up);
        if (want < 0)
            return want;
        uint64_t offset = keeps_first(channel) ? channel->end : channel->end % channel->size;
        got = want == 0 ? 0
                        : read_pipe(pipe, (char *)store->head + channel->at + offset, (size_t)want);
        if (got > 0)
            took(store, c, (size_t)got);
        else if (got == -EFAULT || got == -ENOMEM)
            got = skip_unbacked(store, c, pipe, (size_t)want);
    }
    if (got == 0)
        store_end(store, c);
    return got;
}

/* ── the reader's side ── */

bool store_full(const struct store *store, unsigned c) {
    const struct store_channel *channel = &store->channel[c];
    return channel->mode == STORE_BLOCK && channel->end - channel->acked >= channel->size;
}

bool store_over(const struct store *store, unsigned c) {
    const struct store_channel *channel = &store->channel[c];
    return channel->mode == STORE_KILL && channel->end > channel->kill_over;
}

bool store_ack(struct store *store, unsigned c, uint64_t acked) {
    struct store_channel *channel = &store->channel[c];
    if (acked <= channel->acked || acked > channel->end)
        return false;
    bool was_full = store_full(store, c);
    channel->acked = acked;
    return was_full;
}

bool store_let_go(struct store *store, unsigned c) {
    struct store_channel *channel = &store->channel[c];
    if (channel->mode != STORE_BLOCK)
        return false;
    channel->mode = STORE_DROP;
    if (store->head != NULL)
        atomic_store(&store->head->ring[c].mode, STORE_DROP);
    return true;
}
