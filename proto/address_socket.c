#include "proto/address_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

void socket_address_unix(const struct address *address, struct socket_address *ret) {
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    /* address_parse left room for the NUL; the sizes are the same. */
    memcpy(sun.sun_path, address->path, sizeof(sun.sun_path));
    memset(ret, 0, sizeof(*ret));
    memcpy(&ret->storage, &sun, sizeof(sun));
    ret->len = sizeof(sun);
}

void socket_address_vsock(const struct address *address, uint32_t cid, struct socket_address *ret) {
    struct sockaddr_vm svm = {.svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = address->port};

    memset(ret, 0, sizeof(*ret));
    memcpy(&ret->storage, &svm, sizeof(svm));
    ret->len = sizeof(svm);
}

int socket_address_resolve(const struct address *address, int flags, struct addrinfo **ret) {
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = flags | AI_NUMERICSERV,
    };
    char port[16];

    snprintf(port, sizeof(port), "%u", address->port);
    switch (getaddrinfo(address->path, port, &hints, ret)) {
    case 0:
        return 0;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_SYSTEM:
        return errno ? -errno : -EIO;
    default:
        return -EADDRNOTAVAIL;
    }
}

int socket_inherit(int fd, bool listening, bool nonblocking) {
    int type, accepting, flags;
    socklen_t len = sizeof(int);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepting, &len) < 0)
        return -errno;
    if (type != SOCK_STREAM || !!accepting != listening)
        return -EINVAL;
    flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    flags = nonblocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (fcntl(fd, F_SETFL, flags) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    return fd;
}

int socket_drop(int fd, int r) {
    close(fd);
    return r;
}
