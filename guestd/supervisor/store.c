#include "supervisor/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define WINDOW (64u << 10)

/* Where bytes go that no store keeps. Never read. */
static char discarded[64 << 10];

static uint64_t pages(uint64_t bytes) {
    return (bytes + STORE_PAGE - 1) & ~(uint64_t)(STORE_PAGE - 1);
}

/* Small facts lie in the first page, behind the header: a page is a sixth of a store's cost. */
static bool facts_are_small(size_t facts_len) {
    return facts_len <= STORE_PAGE - sizeof(struct store_head);
}

/*
 * Twice: little output is written through a window that is small, and the mapping of the whole,
 * which no output must lack later, stays untouched. Where unmapping frees a page table, every
 * processor that has run one of our threads is interrupted, which costs more than all else that a
 * store does. So 32 MiB aren't to be touched for a byte, and the window comes first: the kernel
 * maps from the top down, so that it lies among what is mapped already and shares a table with what
 * stays. Below the whole it would share one with that.
 */
static int map(struct store *store) {
    store->window = store->mapped < WINDOW ? store->mapped : WINDOW;
    store->head = mmap(NULL, store->window, PROT_READ | PROT_WRITE, MAP_SHARED, store->fd, 0);
    if (store->head == MAP_FAILED) {
        store->head = NULL;
        return -errno;
    }
    store->whole = mmap(NULL, store->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, store->fd, 0);
    if (store->whole != MAP_FAILED)
        return 0;
    int err = -errno;
    munmap(store->head, store->window);
    store->head = NULL;
    return err;
}

/* Where bytes are written that lie within the window, or beyond it. */
static char *mapping(const struct store *store, uint64_t at) {
    return (at < store->window ? (char *)store->head : store->whole) + at;
}

/* How many of `most` bytes at `at` lie on the same side of the window's end. */
static size_t within(const struct store *store, uint64_t at, size_t most) {
    return at < store->window && most > store->window - at ? store->window - at : most;
}

/* Kernels before 5.1 don't know FUTURE_WRITE; there the reader is trusted to map read-only. */
static int seal(const struct store *store) {
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
    return fcntl(store->fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) < 0 &&
                   fcntl(store->fd, F_ADD_SEALS, seals) < 0
               ? -errno
               : 0;
}

/* Makes the memfd for the channels as they are, without their bytes, and maps it. */
static int lay_out(struct store *store, const void *facts, size_t facts_len) {
    store->fd = memfd_create("guestd-store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (store->fd < 0)
        return -errno;
    struct store_head head = {.magic = STORE_MAGIC, .version = LINK_VERSION};
    uint64_t at = STORE_PAGE;
    for (unsigned c = 0; c < 2; c++) {
        struct store_channel *channel = &store->channel[c];
        channel->at = at;
        head.ring[c].at = at;
        head.ring[c].size = channel->size;
        head.ring[c].end = channel->end;
        head.ring[c].oldest = channel->oldest;
        head.ring[c].mode = channel->mode;
        head.ring[c].eof = channel->eof;
        at += pages(channel->size);
    }
    store->facts_at = head.facts_at = facts_are_small(facts_len) ? sizeof head : at;
    store->facts_len = (uint32_t)facts_len;
    head.facts_len = facts_len;
    store->mapped = at;
    if (ftruncate(store->fd, (off_t)(facts_are_small(facts_len) ? at : at + pages(facts_len))) < 0)
        return -errno;
    /* By pwrite, not through the mapping: memory that can't be had is an error here and SIGBUS
     * there. */
    if (pwrite(store->fd, &head, sizeof head, 0) != (ssize_t)sizeof head ||
        (facts_len > 0 &&
         pwrite(store->fd, facts, facts_len, (off_t)head.facts_at) != (ssize_t)facts_len))
        return -ENOMEM;
    return map(store);
}

int store_make(struct store *store, const uint64_t size[2], const uint32_t mode[2],
               const void *facts, size_t facts_len) {
    memset(store, 0, sizeof *store);
    for (unsigned c = 0; c < 2; c++) {
        store->channel[c].size = size[c];
        store->channel[c].kill_over = size[c];
        store->channel[c].mode = mode[c];
        store->channel[c].eof = size[c] == 0;
    }
    int err = lay_out(store, facts, facts_len);
    if (err == 0)
        err = seal(store);
    if (err < 0)
        store_deinit(store);
    return err;
}

static uint64_t held(const struct store_channel *channel) {
    return channel->end < channel->size ? channel->end : channel->size;
}

uint64_t store_channel_pages(const struct store *store, unsigned c) {
    return pages(held(&store->channel[c])) / STORE_PAGE;
}

uint64_t store_pages(const struct store *store) {
    uint64_t count =
        1 + (facts_are_small(store->facts_len) ? 0 : pages(store->facts_len) / STORE_PAGE);
    for (unsigned c = 0; c < 2; c++) {
        const struct store_channel *channel = &store->channel[c];
        bool may_come = channel->end == 0 && channel->size > 0 && !channel->eof;
        count += may_come ? 1 : store_channel_pages(store, c);
    }
    return count;
}

void store_rest(struct store *store) {
    if (store->head != NULL) {
        munmap(store->head, store->window);
        munmap(store->whole, store->mapped);
    }
    store->head = NULL;
    store->whole = NULL;
}

void store_deinit(struct store *store) {
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
    store->channel[c].end = end;
    if (store->head != NULL)
        atomic_store_explicit(&store->head->ring[c].end, end, memory_order_release);
}

static void publish_oldest(struct store *store, unsigned c, uint64_t oldest) {
    store->channel[c].oldest = oldest;
    if (store->head != NULL)
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
    if (!keeps_first(channel) || channel->size == 0)
        publish_oldest(store, c, channel->end + (uint64_t)got);
    publish(store, c, channel->end + (uint64_t)got);
    return got;
}

/*
 * Before its first lap a ring can end where it is now: every byte stays at its place. Its memory
 * beyond was never touched, so there is none to give back.
 */
void store_stop_growing(struct store *store, unsigned c) {
    struct store_channel *channel = &store->channel[c];
    if (store->head == NULL || channel->end == 0 || channel->end >= channel->size)
        return;
    channel->size = channel->end;
    atomic_store(&store->head->ring[c].size, channel->end);
}

/* The kernel had no page for the bytes: they are lost, and it is said in the way of the mode. */
static ssize_t skip_unbacked(struct store *store, unsigned c, int pipe, size_t most) {
    struct store_channel *channel = &store->channel[c];
    store_stop_growing(store, c);
    if (channel->end == 0 && keeps_first(channel)) { /* it never begins to */
        channel->size = 0;
        atomic_store(&store->head->ring[c].size, 0);
    }
    return skip(store, c, pipe, most);
}

size_t store_fits(const struct store *store, unsigned c) {
    const struct store_channel *channel = &store->channel[c];
    if (store->head == NULL)
        return SIZE_MAX;
    uint64_t backed = channel->end > 0 ? pages(held(channel)) : STORE_PAGE;
    return backed < channel->size ? (size_t)(backed - channel->end) : SIZE_MAX;
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
        madvise(mapping(store, channel->at + whole), done - whole, MADV_DONTNEED);
}

ssize_t store_fill(struct store *store, unsigned c, int pipe, size_t most, bool hung_up) {
    struct store_channel *channel = &store->channel[c];
    ssize_t got;
    if (store->head == NULL || channel->size == 0 ||
        (keeps_first(channel) && channel->end >= channel->size)) {
        got = skip(store, c, pipe, most);
    } else {
        uint64_t at =
            channel->at + (keeps_first(channel) ? channel->end : channel->end % channel->size);
        ssize_t want = room(store, c, pipe, within(store, at, most), hung_up);
        if (want < 0)
            return want;
        got = want == 0 ? 0 : read_pipe(pipe, mapping(store, at), (size_t)want);
        if (got > 0)
            took(store, c, (size_t)got);
        else if (got == -EFAULT || got == -ENOMEM)
            got = skip_unbacked(store, c, pipe, (size_t)want);
    }
    if (got == 0)
        store_end(store, c);
    return got;
}

/* ── moving ── */

/* Where an offset lies in the memfd, and how many bytes follow there. */
static uint64_t place(const struct store_channel *channel, uint64_t off, uint64_t *ret_follow) {
    uint64_t at = keeps_first(channel) ? off : off % channel->size;
    *ret_follow = channel->size - at;
    return channel->at + at;
}

/* What the new channel keeps, from the old memfd, which is where pages that nobody touched stay
 * untouched. */
static int copy_channel(const struct store *from, const struct store *to, unsigned c) {
    const struct store_channel *old = &from->channel[c], *new = &to->channel[c];
    uint64_t end = keeps_first(new) ? held(new) : new->end;
    for (uint64_t off = new->oldest; new->size > 0 && off < end;) {
        uint64_t there, here, len = end - off;
        uint64_t old_at = place(old, off, &there), new_at = place(new, off, &here);
        len = len < there ? len : there;
        len = len < here ? len : here;
        len = within(to, new_at, len);
        ssize_t got = pread(from->fd, mapping(to, new_at), (size_t)len, (off_t)old_at);
        if (got <= 0 && errno != EINTR)
            return -ENOMEM;
        off += got > 0 ? (uint64_t)got : 0;
    }
    return 0;
}

/* `sealed`: as ever; else it can still be mapped for writing. */
static int move(struct store *store, const uint64_t size[2], bool sealed) {
    static char facts[LINK_FACTS_MAX]; /* large, and there is one loop */
    struct store moved = *store;
    moved.head = NULL;
    for (unsigned c = 0; c < 2; c++) {
        struct store_channel *channel = &moved.channel[c];
        channel->size = size[c];
        if (channel->size == 0)
            channel->oldest = channel->end;
        else if (!keeps_first(channel) && channel->end - channel->oldest > channel->size)
            channel->oldest = channel->end - channel->size;
    }
    if (store->facts_len > sizeof facts)
        return -E2BIG;
    if (pread(store->fd, facts, store->facts_len, (off_t)store->facts_at) != store->facts_len)
        return -EIO;
    int err = lay_out(&moved, facts, store->facts_len);
    if (err == 0 && sealed)
        err = seal(&moved);
    for (unsigned c = 0; c < 2 && err == 0; c++)
        err = copy_channel(store, &moved, c);
    if (err < 0) {
        store_deinit(&moved);
        return err;
    }
    bool rests = store->head == NULL;
    store_deinit(store);
    *store = moved;
    if (rests)
        store_rest(store);
    return 0;
}

int store_move(struct store *store, const uint64_t size[2]) {
    return move(store, size, true);
}

int store_loosen(struct store *store) {
    return move(store, (uint64_t[2]){store->channel[0].size, store->channel[1].size}, false);
}

int store_tighten(const struct store *store) {
    return seal(store);
}

int store_map_again(struct store *store) {
    struct stat stat;
    /* What a mapping reaches beyond the file's end is SIGBUS. */
    if (fstat(store->fd, &stat) < 0 || stat.st_size < 0 || (uint64_t)stat.st_size < store->mapped)
        return -EBADMSG;
    return map(store);
}

/* ── the reader's side ── */

bool store_full(const struct store *store, unsigned c) {
    const struct store_channel *channel = &store->channel[c];
    return store->head != NULL && channel->mode == STORE_BLOCK && channel->size > 0 &&
           channel->end - channel->acked >= channel->size;
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
