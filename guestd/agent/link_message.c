#include "agent/link_message.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "version.h"

static bool foreign; /* the supervisor speaks another version */

void link_message_speak(uint32_t version) {
    foreign = version != guestd_link_version;
}

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

/* LINK_HELLO comes before anybody knows whose version it is. What every version has of it: */
#define HELLO_LEAST offsetof(struct link_hello, later)

/* `len`: as it was sent, `got`: of that, what is here. Makes it as long as its type. */
static bool fit(union link_message *message, size_t len, size_t got, unsigned n_fds) {
    size_t size = len >= sizeof(message->h) ? size_of(message->h.type) : 0;
    bool hello = size > 0 && message->h.type == LINK_HELLO && len >= HELLO_LEAST;

    if (size == 0 || message->h.size != len || (len != size && !foreign && !hello))
        return false;
    if (got < size)
        memset((char *)message + got, 0, size - got);
    message->h.size = (uint32_t)size;
    return n_fds == fds_of(message);
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
    size_t got;
    ssize_t n;

    do
        n = recvmsg(LINK_FD, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    if (n == 0)
        return -EPIPE;
    *ret_n_fds = take_fds(&header, fds);
    got = (size_t)n < sizeof(*message) ? (size_t)n : sizeof(*message);
    if ((header.msg_flags & MSG_CTRUNC) || !fit(message, (size_t)n, got, *ret_n_fds)) {
        link_message_close(fds, *ret_n_fds);
        return -EBADMSG;
    }
    return 0;
}

int link_message_wait(union link_message *message, int fds[LINK_FDS_MAX], unsigned *ret_n_fds,
                      int ms) {
    for (;;) {
        struct pollfd ready = {.fd = LINK_FD, .events = POLLIN};
        int r = link_message_receive(message, fds, ret_n_fds);

        if (r != -EAGAIN)
            return r;
        r = poll(&ready, 1, ms);
        if (r == 0)
            return -ETIMEDOUT;
        if (r < 0 && errno != EINTR)
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
