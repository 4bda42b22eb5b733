/* Listening sockets: made once, by the supervisor at its start, before there is a second thread. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/address_socket.h"

#define LISTEN_FLAGS (SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)

static int listen_vsock(const struct address *address, int backlog) {
    struct socket_address to;
    int fd;

    fd = socket(AF_VSOCK, LISTEN_FLAGS, 0);
    if (fd < 0)
        return -errno;
    socket_address_vsock(address, address->cid, &to);
    if (bind(fd, (struct sockaddr *)&to.storage, to.len) < 0 || listen(fd, backlog) < 0)
        return socket_drop(fd, -errno);
    return fd;
}

/* 0 when the path is free or what was there is a dead socket, now removed; else -EADDRINUSE or
 * -errno. */
static int make_room(const struct address *address, const struct socket_address *to) {
    struct stat st;
    int fd;

    if (lstat(address->path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    /* Only a refused connect proves that nobody listens; a full backlog (EAGAIN) is somebody. */
    if (connect(fd, (const struct sockaddr *)&to->storage, to->len) == 0 || errno != ECONNREFUSED)
        return socket_drop(fd, -EADDRINUSE);
    close(fd);
    return unlink(address->path) < 0 && errno != ENOENT ? -errno : 0;
}

static int listen_unix(const struct address *address, int backlog) {
    struct socket_address to;
    mode_t mask;
    int fd, r;

    socket_address_unix(address, &to);
    r = make_room(address, &to);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, LISTEN_FLAGS, 0);
    if (fd < 0)
        return -errno;
    /* A chmod afterwards would leave a moment in which others can connect. */
    mask = umask(0177);
    r = bind(fd, (struct sockaddr *)&to.storage, to.len) < 0 ? -errno : 0;
    umask(mask);
    if (r < 0)
        return socket_drop(fd, r);
    if (listen(fd, backlog) < 0)
        return socket_drop(fd, -errno);
    return fd;
}

static int listen_one(const struct addrinfo *info, int backlog) {
    int on = 1;
    int fd;

    fd = socket(info->ai_family, LISTEN_FLAGS, 0);
    if (fd < 0)
        return -errno;
    /* Connections of a former life in TIME_WAIT must not keep the port from us. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        bind(fd, info->ai_addr, info->ai_addrlen) < 0 || listen(fd, backlog) < 0)
        return socket_drop(fd, -errno);
    return fd;
}

static int listen_tcp(const struct address *address, int backlog) {
    struct addrinfo *list;
    int r;

    r = socket_address_resolve(address, AI_PASSIVE, &list);
    if (r < 0)
        return r;
    r = -EADDRNOTAVAIL;
    for (struct addrinfo *info = list; info && r < 0; info = info->ai_next)
        r = listen_one(info, backlog);
    freeaddrinfo(list);
    return r;
}

int address_listen(const struct address *address, int backlog) {
    switch (address->family) {
    case ADDRESS_VSOCK:
        return listen_vsock(address, backlog);
    case ADDRESS_UNIX:
        return listen_unix(address, backlog);
    case ADDRESS_TCP:
        return listen_tcp(address, backlog);
    case ADDRESS_FD:
        return socket_inherit(address->fd, true, true);
    case ADDRESS_FIRECRACKER:
        break;
    }
    return -EINVAL;
}
