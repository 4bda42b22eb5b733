#include "agent/link_message.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* How large a message of this type is; 0: none that an agent gets. */
static size_t size_of(uint32_t type) {
    switch (type) {
    case LINK_HELLO:
        return sizeof(struct link_hello);
    case LINK_JOB:
        return sizeof(struct link_job);
    case LINK_SPAWNED:
        return sizeof(struct link_spawned);
    case LINK_OUTPUT:
        return sizeof(struct link_output);
    case LINK_STORE:
        return sizeof(struct link_job_ref);
    case LINK_EXITED:
        return sizeof(struct link_exited);
    case LINK_DONE:
        return sizeof(struct link_done);
    case LINK_COUNTS:
        return sizeof(struct link_counts);
    case LINK_TAKEN:
        return sizeof(struct link_taken);
    case LINK_JOBS_END:
    case LINK_PING:
    case LINK_STOPPING:
        return sizeof(struct link_header);
    default:
        return 0;
    }
}

static unsigned fds_of(const union link_message *message) {
    switch (message->h.type) {
    case LINK_HELLO:
        return message->hello.listeners;
    case LINK_JOB:
    case LINK_STORE:
        return 1;
    case LINK_SPAWNED:
        return message->spawned.err == 0;
    default:
        return 0;
    }
}

static bool fits(const union link_message *message, size_t len, unsigned n_fds) {
    return len >= sizeof(message->h) && message->h.size == len && len == size_of(message->h.type) &&
           n_fds == fds_of(message);
}

void link_message_close(const int *fds, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        close(fds[i]);
}

static unsigned take_fds(struct msghdr *header, int fds[LINK_FDS_MAX]) {
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        unsigned here = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (unsigned i = 0; i < here && n < LINK_FDS_MAX; i++)
            memcpy(&fds[n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return n;
}

int link_message_receive(union link_message *message, int fds[LINK_FDS_MAX], unsigned *ret_n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(LINK_FDS_MAX * sizeof(int))];
    } control;
    struct iovec iov = {message, sizeof(*message)};
    struct msghdr header = {.msg_iov = &iov,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof(control)};
    ssize_t n;

    do
        n = recvmsg(LINK_FD, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (n == 0)
        return -EPIPE;
    *ret_n_fds = take_fds(&header, fds);
    if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || !fits(message, (size_t)n, *ret_n_fds)) {
        link_message_close(fds, *ret_n_fds);
        return -EBADMSG;
    }
    return 0;
}

int link_message_wait(union link_message *message, int fds[LINK_FDS_MAX], unsigned *ret_n_fds) {
    for (;;) {
        struct pollfd ready = {.fd = LINK_FD, .events = POLLIN};
        int r = link_message_receive(message, fds, ret_n_fds);

        if (r != -EAGAIN)
            return r;
        if (poll(&ready, 1, -1) < 0 && errno != EINTR)
            return -errno;
    }
}

int link_message_send(const void *bytes, size_t size, const int *fds, unsigned n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(LINK_FDS_MAX * sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)bytes, size};
    struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;

    if (n_fds > 0) {
        struct cmsghdr *c = &control.align;

        header.msg_control = &control;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    do
        n = sendmsg(LINK_FD, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    if (n >= 0)
        return 0;
    /* The last two say that too many fds, or too much memory, are in flight: they get fewer as the
     * supervisor reads. */
    return errno == EWOULDBLOCK || errno == ETOOMANYREFS || errno == ENOBUFS ? -EAGAIN : -errno;
}
