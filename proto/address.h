/* Addresses, one syntax everywhere (PROTOCOL.md, "Addresses"): vsock:, unix:, tcp:, fd:,
 * firecracker:. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum address_family {
    ADDRESS_VSOCK,
    ADDRESS_UNIX,
    ADDRESS_TCP,
    ADDRESS_FD,
    ADDRESS_FIRECRACKER,
};

struct address {
    enum address_family family;
    char path[108]; /* unix, firecracker: the socket; tcp: the host */
    uint32_t cid;   /* vsock: UINT32_MAX (any) when the text named none */
    uint32_t port;  /* vsock, tcp, firecracker */
    int fd;         /* fd */
};

/* Returns 0 or -EINVAL / -ENAMETOOLONG; *ret untouched on failure. */
int address_parse(const char *text, struct address *ret);

/* Makes a listening, close-on-exec, non-blocking socket. unix: 0600 from birth, a stale file
 * replaced. Returns the fd or -errno (-EAFNOSUPPORT where the kernel has no vsock; -EINVAL for a
 * family that can't listen). */
int address_listen(const struct address *address, int backlog);

/* Connects, blocking, within timeout_ms (≤ 0: none); firecracker: speaks CONNECT/OK. Returns a
 * blocking, close-on-exec fd or -errno. TCP gets TCP_NODELAY. */
int address_connect(const struct address *address, int timeout_ms);

/* Back to text: what `listen` in ready and hello say. Returns buf. */
const char *address_format(const struct address *address, char *buf, unsigned long len);
