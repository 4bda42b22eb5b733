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

/* What all stores together may hold. Shared by them; NULL in a store: no bound. */
struct store_budget {
    uint64_t held, most;
};

struct store {
    int fd;
    struct store_budget *budget;
    struct store_head *head; /* the whole mapping; NULL: none */
    size_t mapped;
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
/* Bytes of memory that its output takes. */
uint64_t store_held(const struct store *store);
/* Both channels are at their end: unmaps, keeps the memfd. */
void store_rest(struct store *store);
/* Unmaps and closes; takes one whose head is NULL and fd is -1. */
void store_deinit(struct store *store);

/*
 * Reads up to `most` bytes from the pipe and publishes them. A ring that may not grow any more, for
 * the budget or for want of memory, stays as large as it is. Returns the number of bytes, 0 at the
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
