/* A file that is slow to close. */
#pragma once

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include <cmocka.h>

/* A socket that close(2) waits for: its peer reads nothing. */
static inline int lingering(int *ret_peer) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    struct sockaddr *any = (struct sockaddr *)&address;
    static const char block[65536];
    int peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(peer, any, len) | listen(peer, 1), 0);
    assert_int_equal(getsockname(peer, any, &len) | connect(fd, any, len), 0);
    while (send(fd, block, sizeof block, MSG_DONTWAIT) > 0)
        ;
    struct linger linger = {.l_onoff = 1, .l_linger = 3600};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    *ret_peer = peer;
    return fd;
}
