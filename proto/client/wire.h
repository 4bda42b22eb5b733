/*
 * The socket of one client with what is on its way in and out. Owned by struct guestproto.
 *
 * All waiting happens in wire_move: it reads while it writes, so that a guest that is busy sending
 * can't stop us both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/frame.h"

/* Bytes start … end-1 of data count. */
struct buffer {
    uint8_t *data;
    size_t start, end, size;
};

static inline size_t buffer_len(const struct buffer *buffer) {
    return buffer->end - buffer->start;
}

/* Room for len more bytes after the end, which the caller moves on. NULL: no memory. */
uint8_t *buffer_room(struct buffer *buffer, size_t len);
void buffer_deinit(struct buffer *buffer);

struct wire {
    int fd; /* -1: closed */
    struct buffer in, out;
    size_t max_body;
    bool deaf; /* the guest takes no more bytes; what it said before it left is still read */
};

void wire_init(struct wire *wire, size_t max_body);
void wire_open(struct wire *wire, int fd);
void wire_close(struct wire *wire); /* may be repeated */

/* A whole frame that came, borrowed until wire_move: 1; 0: none yet; -EMSGSIZE: it would be over
 * max_body. */
int wire_take(struct wire *wire, struct slice *ret_body);

struct wire_wait {
    int wake_fd;       /* an eventfd; emptied when it rings */
    int source_fd;     /* waited for too, once the queue is empty; -1: none */
    bool eager;        /* don't wait once the queue is empty: the caller has more to send */
    bool now;          /* look, don't wait */
    int64_t deadline;  /* CLOCK_MONOTONIC, ms; INT64_MAX: none */
    bool source_ready; /* answer: source_fd is readable */
    bool moved;        /* answer: bytes went or came */
};

/*
 * Sends what is queued as far as it goes and waits until bytes came, the queue moved, a signal
 * came, or one of the fds is ready. 0; -ETIMEDOUT; -ECONNRESET: the guest has gone and all it said
 * was taken; or another negative errno.
 */
int wire_move(struct wire *wire, struct wire_wait *wait);

int64_t wire_now_ms(void);
