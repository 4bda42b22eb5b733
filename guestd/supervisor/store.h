/*
 * A job's store (guestd/link.h, struct store_head): the memfd with both output rings and the facts.
 * Only the supervisor writes it, by read(2) straight from the pipe; its own offsets are kept here,
 * never read back from the shared page.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"

struct store {
    int fd;
    struct store_head *head; /* the first `window` bytes; NULL: nothing is mapped */
    char *whole;             /* all of them */
    size_t mapped;           /* bytes from the head to the rings' end */
    size_t window;
    uint64_t facts_at;
    uint32_t facts_len;
    struct store_channel {
        uint64_t end, oldest, acked;
        uint64_t at, size;
        uint64_t kill_over; /* the size at first; `size` falls where memory ends */
        uint32_t mode;      /* enum store_mode */
        bool eof;
    } channel[2];
};

/*
 * Makes the memfd, maps and seals it. Sizes are exact: a ring holds `size` bytes, only its memory
 * is rounded up to pages. Size 0: a channel that is at its end from the start. 0 or -errno.
 */
int store_make(struct store *store, const uint64_t size[2], const uint32_t mode[2],
               const void *facts, size_t facts_len);
/*
 * Moves to a smaller memfd, whose rings have these sizes: the newest bytes that fit are copied,
 * `oldest` says what is gone. At most what a ring holds, or 0: then it keeps nothing, now and
 * later. A HEAD or KILL channel keeps its size or gets 0. The old memory lives as long as somebody
 * maps it. 0 or -errno: nothing has changed.
 */
int store_move(struct store *store, const uint64_t size[2]);
/*
 * The next executable of this process must be able to write on, and what is sealed can't be mapped
 * for that again: moves it to a memfd of the same sizes, which can, until store_tighten. Nobody
 * else may get that fd before. 0 or -errno: nothing has changed.
 */
int store_loosen(struct store *store);
/* Seals one that was loosened and is mapped. 0 or -errno. */
int store_tighten(const struct store *store);
/* Behind the exec: maps one that was loosened. 0 or -errno. */
int store_map_again(struct store *store);
/* Pages of memory that it has, and may have without asking: the head, the facts, what its rings
 * hold, and the first page of each that may still come to hold something. */
uint64_t store_pages(const struct store *store);
/* Of these, the pages of a channel that hold output. */
uint64_t store_channel_pages(const struct store *store, unsigned channel);
/* Both channels are at their end: unmaps, keeps the memfd. */
void store_rest(struct store *store);
/* Unmaps and closes; takes one whose head is NULL and fd is -1. What is filled into it later is
 * read and kept nowhere. */
void store_deinit(struct store *store);

/* Bytes that a channel can take without a page more; SIZE_MAX: it won't ever need one. */
size_t store_fits(const struct store *store, unsigned channel);
/* The ring stays as large as it is now. */
void store_stop_growing(struct store *store, unsigned channel);
/*
 * Reads up to `most` bytes from the pipe and publishes them. A ring that can't grow any more for
 * want of memory stays as large as it is. Returns the number of bytes, 0 at the
 * end (published too), -EAGAIN, or -ENOBUFS when a BLOCK ring is full. `hung_up`: nobody holds the
 * pipe's other end.
 */
ssize_t store_fill(struct store *store, unsigned channel, int pipe, size_t most, bool hung_up);
/* Publishes the end. */
void store_end(struct store *store, unsigned channel);

/* The reader has what is below `acked`. Returns whether a full BLOCK ring has room again. */
bool store_ack(struct store *store, unsigned channel, uint64_t acked);
/* BLOCK becomes DROP. Returns whether it was BLOCK. */
bool store_let_go(struct store *store, unsigned channel);
/* A BLOCK ring without room. */
bool store_full(const struct store *store, unsigned channel);
/* STORE_KILL, and the program wrote more than the size. */
bool store_over(const struct store *store, unsigned channel);
