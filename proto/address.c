/* Addresses as text. What is done with them is in address_listen.c and address_connect.c. */
#include "proto/address.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Digits only, all of them, at most max: no sign, no space, no 0x. */
static int parse_number(const char *text, size_t len, uint64_t max, uint64_t *ret) {
    uint64_t value = 0;

    if (len == 0)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return -EINVAL;
        value = value * 10 + (uint64_t)(text[i] - '0');
        if (value > max)
            return -EINVAL;
    }
    *ret = value;
    return 0;
}

static int copy_path(struct address *address, const char *text, size_t len) {
    if (len == 0)
        return -EINVAL;
    if (len >= sizeof(address->path))
        return -ENAMETOOLONG;
    memcpy(address->path, text, len);
    address->path[len] = '\0';
    return 0;
}

static int parse_vsock(const char *rest, struct address *address) {
    const char *colon = strchr(rest, ':');
    const char *port_text = colon ? colon + 1 : rest;
    uint64_t cid = UINT32_MAX, port;

    address->family = ADDRESS_VSOCK;
    if (colon && parse_number(rest, (size_t)(colon - rest), UINT32_MAX, &cid) < 0)
        return -EINVAL;
    /* UINT32_MAX as a port is the kernel's "any": nobody could be told where to connect to. */
    if (parse_number(port_text, strlen(port_text), UINT32_MAX - 1, &port) < 0)
        return -EINVAL;
    address->cid = (uint32_t)cid;
    address->port = (uint32_t)port;
    return 0;
}

static int parse_unix(const char *rest, struct address *address) {
    address->family = ADDRESS_UNIX;
    if (rest[0] != '/')
        return -EINVAL;
    return copy_path(address, rest, strlen(rest));
}

static int parse_tcp(const char *rest, struct address *address) {
    const char *colon = strrchr(rest, ':');
    uint64_t port;
    size_t len;

    address->family = ADDRESS_TCP;
    if (!colon || parse_number(colon + 1, strlen(colon + 1), UINT16_MAX, &port) < 0)
        return -EINVAL;
    address->port = (uint32_t)port;
    len = (size_t)(colon - rest);
    if (len > 2 && rest[0] == '[' && rest[len - 1] == ']')
        return copy_path(address, rest + 1, len - 2);
    return copy_path(address, rest, len);
}

static int parse_fd(const char *rest, struct address *address) {
    uint64_t fd;

    address->family = ADDRESS_FD;
    if (parse_number(rest, strlen(rest), INT_MAX, &fd) < 0)
        return -EINVAL;
    address->fd = (int)fd;
    return 0;
}

static int parse_firecracker(const char *rest, struct address *address) {
    const char *colon = strrchr(rest, ':');
    uint64_t port;

    address->family = ADDRESS_FIRECRACKER;
    if (rest[0] != '/' || !colon ||
        parse_number(colon + 1, strlen(colon + 1), UINT32_MAX - 1, &port) < 0)
        return -EINVAL;
    address->port = (uint32_t)port;
    return copy_path(address, rest, (size_t)(colon - rest));
}

int address_parse(const char *text, struct address *ret) {
    static const struct {
        const char *prefix;
        int (*parse)(const char *rest, struct address *address);
    } families[] = {
        {"vsock:", parse_vsock},
        {"unix:", parse_unix},
        {"tcp:", parse_tcp},
        {"fd:", parse_fd},
        {"firecracker:", parse_firecracker},
    };

    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
        size_t len = strlen(families[i].prefix);

        if (strncmp(text, families[i].prefix, len) == 0) {
            struct address address = {.fd = -1};
            int r = families[i].parse(text + len, &address);

            if (r == 0)
                *ret = address;
            return r;
        }
    }
    return -EINVAL;
}

const char *address_format(const struct address *address, char *buf, unsigned long len) {
    switch (address->family) {
    case ADDRESS_VSOCK:
        if (address->cid == UINT32_MAX)
            snprintf(buf, len, "vsock:%u", address->port);
        else
            snprintf(buf, len, "vsock:%u:%u", address->cid, address->port);
        break;
    case ADDRESS_UNIX:
        snprintf(buf, len, "unix:%s", address->path);
        break;
    case ADDRESS_TCP:
        snprintf(buf, len, strchr(address->path, ':') ? "tcp:[%s]:%u" : "tcp:%s:%u", address->path,
                 address->port);
        break;
    case ADDRESS_FD:
        snprintf(buf, len, "fd:%d", address->fd);
        break;
    case ADDRESS_FIRECRACKER:
        snprintf(buf, len, "firecracker:%s:%u", address->path, address->port);
        break;
    }
    return buf;
}
