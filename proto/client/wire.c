#include "proto/client/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* One read's worth: large enough that a flood of output costs few system calls. */
#define READ_BYTES (256u << 10)

uint8_t *buffer_room(struct buffer *buffer, size_t len) {
    size_t used = buffer_len(buffer);
    size_t size = buffer->size;
    uint8_t *data;

    if (buffer->size - buffer->end >= len)
        return buffer->data + buffer->end;
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, used);
        buffer->start = 0;
        buffer->end = used;
    }
    if (size - used >= len)
        return buffer->data + buffer->end;
    while (size - used < len)
        size = size ? size * 2 : 4096;
    data = realloc(buffer->data, size);
    if (!data)
        return NULL;
    buffer->data = data;
    buffer->size = size;
    return data + used;
}

void buffer_deinit(struct buffer *buffer) {
    free(buffer->data);
    *buffer = (struct buffer){0};
}

static void buffer_take(struct buffer *buffer, size_t len) {
    buffer->start += len;
    if (buffer->start == buffer->end)
        buffer->start = buffer->end = 0;
}

void wire_init(struct wire *wire, size_t max_body) {
    *wire = (struct wire){.fd = -1, .max_body = max_body};
}

void wire_open(struct wire *wire, int fd) {
    wire->fd = fd;
    wire->deaf = false;
}

void wire_close(struct wire *wire) {
    if (wire->fd >= 0)
        close(wire->fd);
    wire->fd = -1;
    buffer_deinit(&wire->in);
    buffer_deinit(&wire->out);
}

int wire_take(struct wire *wire, struct slice *ret_body) {
    size_t len = buffer_len(&wire->in), need;
    int r;

    if (len == 0)
        return 0;
    r = frame_pop(wire->in.data + wire->in.start, len, wire->max_body, ret_body, &need);
    /* The bytes stay where they are until the next wire_move: the caller borrows them. */
    if (r == 1)
        buffer_take(&wire->in, FRAME_HEADER + ret_body->len);
    return r;
}

static int send_queued(struct wire *wire, bool *ret_moved) {
    while (buffer_len(&wire->out) > 0 && !wire->deaf) {
        ssize_t n = send(wire->fd, wire->out.data + wire->out.start, buffer_len(&wire->out),
                         MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n >= 0) {
            buffer_take(&wire->out, (size_t)n);
            *ret_moved = true;
        } else if (errno == EAGAIN || errno == EINTR) {
            return 0;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            /* It may have said why before it closed: read on until its end. */
            wire->deaf = true;
            buffer_deinit(&wire->out);
        } else {
            return -errno;
        }
    }
    return 0;
}

static int receive(struct wire *wire, bool *ret_moved) {
    uint8_t *room = buffer_room(&wire->in, READ_BYTES);
    ssize_t n;

    if (!room)
        return -ENOMEM;
    n = recv(wire->fd, room, wire->in.size - wire->in.end, MSG_DONTWAIT);
    if (n > 0) {
        wire->in.end += (size_t)n;
        *ret_moved = true;
        return 0;
    }
    if (n == 0)
        return -ECONNRESET;
    return errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int poll_timeout(const struct wire_wait *wait, bool now) {
    int64_t left;

    if (now)
        return 0;
    if (wait->deadline == INT64_MAX)
        return -1;
    left = wait->deadline - wire_now_ms();
    if (left < 0)
        return 0;
    return left > 3600000 ? 3600000 : (int)left;
}

int wire_move(struct wire *wire, struct wire_wait *wait) {
    struct pollfd fds[3] = {
        {.fd = wire->fd, .events = POLLIN},
        {.fd = wait->wake_fd, .events = POLLIN},
        {.fd = -1, .events = POLLIN},
    };
    bool now = wait->now;
    uint64_t rings;
    int r, n;

    wait->moved = wait->source_ready = false;
    r = send_queued(wire, &wait->moved);
    if (r < 0)
        return r;
    if (buffer_len(&wire->out) == 0) {
        fds[2].fd = wait->source_fd;
        now = now || wait->eager;
    } else if (!wire->deaf) {
        fds[0].events |= POLLOUT;
    }
    n = poll(fds, 3, poll_timeout(wait, now));
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0)
        return now || wait->moved || wire_now_ms() < wait->deadline ? 0 : -ETIMEDOUT;
    if (fds[1].revents && read(wait->wake_fd, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
        return -errno;
    wait->source_ready = fds[2].revents != 0;
    if (fds[0].revents & POLLOUT) {
        r = send_queued(wire, &wait->moved);
        if (r < 0)
            return r;
    }
    return fds[0].revents & ~POLLOUT ? receive(wire, &wait->moved) : 0;
}

int64_t wire_now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
