#include "agent/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

static int vsock(int fd, const struct link_config *config, char *name, size_t name_len) {
    struct sockaddr_vm address = {0};
    socklen_t len = sizeof address;

    if (getpeername(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    snprintf(name, name_len, "vsock:%u", address.svm_cid);
    if (address.svm_cid == VMADDR_CID_HOST)
        return 0;
    for (unsigned i = 0; i < config->allow_cids; i++)
        if (config->allow_cid[i] == address.svm_cid)
            return 0;
    return -EACCES;
}

static int local(int fd, char *name, size_t name_len) {
    struct ucred cred;
    socklen_t len = sizeof cred;
    int room = 512 << 10;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
        return -errno;
    snprintf(name, name_len, "uid %u pid %d", cred.uid, cred.pid);
    /* Room for two chunks: what the socket doesn't take of one at once has to be copied. The kernel
     * clamps it to net.core.wmem_max (socket(7)); TCP sizes its own. */
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    return cred.uid == 0 || cred.uid == geteuid() ? 0 : -EACCES;
}

static int tcp(int fd, char *name, size_t name_len) {
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    char host[INET6_ADDRSTRLEN] = "?";
    int one = 1;

    if (getpeername(fd, (struct sockaddr *)&address, &len) < 0)
        return -errno;
    if (address.ss_family == AF_INET)
        inet_ntop(AF_INET, &((struct sockaddr_in *)&address)->sin_addr, host, sizeof host);
    else if (address.ss_family == AF_INET6)
        inet_ntop(AF_INET6, &((struct sockaddr_in6 *)&address)->sin6_addr, host, sizeof host);
    snprintf(name, name_len, "tcp:%s", host);
    /* Nagle's algorithm would hold a small answer back for the client's delayed ACK: 40 ms
     * (tcp(7)). */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return 0;
}

int peer_check(int fd, enum link_family family, const struct link_config *config, char *ret_name,
               size_t name_len) {
    snprintf(ret_name, name_len, "?");
    switch (family) {
    case LINK_FAMILY_VSOCK:
        return vsock(fd, config, ret_name, name_len);
    case LINK_FAMILY_UNIX:
        return local(fd, ret_name, name_len);
    case LINK_FAMILY_TCP:
        return tcp(fd, ret_name, name_len);
    }
    return -EAFNOSUPPORT;
}
