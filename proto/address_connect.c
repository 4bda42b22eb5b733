/* Outgoing connections, blocking with a deadline: what the clients and `--ready` use. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "proto/address_socket.h"

#define CONNECT_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

static int64_t now_ms(void) {
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for events until the deadline (0: for ever). */
static int wait_for(int fd, short events, int64_t deadline) {
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline ? deadline - now_ms() : -1;
        int r;

        if (deadline && left < 0)
            left = 0;
        r = poll(&p, 1, (int)left);
        if (r > 0)
            return 0;
        if (r == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int finish_connect(int fd, const struct sockaddr *to, socklen_t len, int64_t deadline) {
    int err = 0;
    socklen_t err_len = sizeof(err);
    int r;

    if (connect(fd, to, len) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return -errno;
    r = wait_for(fd, POLLOUT, deadline);
    if (r < 0)
        return r;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &err_len) < 0)
        return -errno;
    return -err;
}

static int make_blocking(int fd) {
    int flags = fcntl(fd, F_GETFL);

    return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static int connect_vsock(const struct address *address, int64_t deadline, int timeout_ms) {
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000L};
    struct socket_address to;
    int fd, r;

    fd = socket(AF_VSOCK, CONNECT_FLAGS, 0);
    if (fd < 0)
        return -errno;
    /* The kernel gives up after 2 s of its own accord; a guest that boots may take longer. */
    if (timeout_ms > 0 &&
        setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &limit, sizeof(limit)) < 0)
        return socket_drop(fd, -errno);
    socket_address_vsock(address, address->cid == UINT32_MAX ? VMADDR_CID_LOCAL : address->cid,
                         &to);
    r = finish_connect(fd, (struct sockaddr *)&to.storage, to.len, deadline);
    return r < 0 ? socket_drop(fd, r) : fd;
}

/* A Unix socket never says EINPROGRESS: while the backlog is full it blocks, or fails with EAGAIN
 * at once. So this one blocks, and SO_SNDTIMEO is its deadline. */
static int connect_unix(const struct address *address, int timeout_ms) {
    struct timeval limit = {0};
    struct socket_address to;
    int fd, r;

    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (timeout_ms > 0)
        limit = (struct timeval){timeout_ms / 1000, timeout_ms % 1000 * 1000L};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return socket_drop(fd, -errno);
    socket_address_unix(address, &to);
    do
        r = connect(fd, (struct sockaddr *)&to.storage, to.len) < 0 ? -errno : 0;
    while (r == -EINTR);
    if (r < 0)
        return socket_drop(fd, r == -EAGAIN ? -ETIMEDOUT : r);
    limit = (struct timeval){0};
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return socket_drop(fd, -errno);
    return fd;
}

static int connect_one(const struct addrinfo *info, int64_t deadline) {
    int on = 1;
    int fd, r;

    fd = socket(info->ai_family, CONNECT_FLAGS, 0);
    if (fd < 0)
        return -errno;
    r = finish_connect(fd, info->ai_addr, info->ai_addrlen, deadline);
    if (r == 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
        r = -errno;
    return r < 0 ? socket_drop(fd, r) : fd;
}

/* The deadline covers all of the host's addresses; resolving a name is the resolver's own time. */
static int connect_tcp(const struct address *address, int64_t deadline) {
    struct addrinfo *list;
    int r;

    r = socket_address_resolve(address, 0, &list);
    if (r < 0)
        return r;
    r = -EADDRNOTAVAIL;
    for (struct addrinfo *info = list; info && r < 0; info = info->ai_next)
        r = connect_one(info, deadline);
    freeaddrinfo(list);
    return r;
}

/* "OK n\n" and not a byte more: what follows is the guest's. A hypervisor that finds nobody at the
 * port hangs up. */
static int read_ok(int fd, int64_t deadline) {
    char line[32];
    size_t len = 0;

    while (len < sizeof(line)) {
        ssize_t n;
        int r = wait_for(fd, POLLIN, deadline);

        if (r < 0)
            return r;
        n = recv(fd, line + len, 1, MSG_DONTWAIT);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ECONNREFUSED;
        if (line[len++] == '\n')
            return len > 3 && memcmp(line, "OK ", 3) == 0 ? 0 : -EPROTO;
    }
    return -EPROTO;
}

static int connect_firecracker(const struct address *address, int64_t deadline, int timeout_ms) {
    char line[32];
    int len, fd, r;

    fd = connect_unix(address, timeout_ms);
    if (fd < 0)
        return fd;
    len = snprintf(line, sizeof(line), "CONNECT %u\n", address->port);
    /* A fresh socket's buffer takes these few bytes whole or not at all. */
    if (send(fd, line, (size_t)len, MSG_NOSIGNAL) < 0)
        return socket_drop(fd, -errno);
    r = read_ok(fd, deadline);
    return r < 0 ? socket_drop(fd, r) : fd;
}

int address_connect(const struct address *address, int timeout_ms) {
    int64_t deadline = timeout_ms > 0 ? now_ms() + timeout_ms : 0;
    int fd = -EINVAL;
    int r;

    switch (address->family) {
    case ADDRESS_VSOCK:
        fd = connect_vsock(address, deadline, timeout_ms);
        break;
    case ADDRESS_UNIX:
        return connect_unix(address, timeout_ms);
    case ADDRESS_TCP:
        fd = connect_tcp(address, deadline);
        break;
    case ADDRESS_FD:
        return socket_inherit(address->fd, false, false);
    case ADDRESS_FIRECRACKER:
        return connect_firecracker(address, deadline, timeout_ms);
    }
    if (fd < 0)
        return fd;
    r = make_blocking(fd);
    return r < 0 ? socket_drop(fd, r) : fd;
}
