/* What listening and connecting share: an address as the kernel takes it. Internal to
 * proto/address*.c. */
#pragma once

#include <sys/socket.h>

#include "proto/address.h"

struct addrinfo;

struct socket_address {
    struct sockaddr_storage storage;
    socklen_t len;
};

/* unix, firecracker, vsock; `cid` stands for the address's own. */
void socket_address_unix(const struct address *address, struct socket_address *ret);
void socket_address_vsock(const struct address *address, uint32_t cid, struct socket_address *ret);

/* tcp: resolves the host. Returns 0 with a list for freeaddrinfo, or -errno. `flags` as
 * getaddrinfo's. */
int socket_address_resolve(const struct address *address, int flags, struct addrinfo **ret);

/* fd: checks that N is a stream socket that does or doesn't listen; makes it close-on-exec and
 * (non-)blocking. Returns the fd itself or -errno. */
int socket_inherit(int fd, bool listening, bool nonblocking);

/* Closes it on the way out of a failure: returns `r`. */
int socket_drop(int fd, int r);
