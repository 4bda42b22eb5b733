/* Addresses: text both ways, and real sockets of each family this machine has. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cmocka.h>

#include "proto/address.h"

static char folder[64];

static int make_folder(void **state) {
    strcpy(folder, "/tmp/test_address.XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state) {
    return rmdir(folder);
}

static struct address unix_address(const char *name) {
    struct address address = {.family = ADDRESS_UNIX};

    snprintf(address.path, sizeof(address.path), "%s/%s", folder, name);
    return address;
}

static void text_both_ways(void **state) {
    static const char *const rows[][2] = {
        {"vsock:1024", NULL},
        {"vsock:2:1024", NULL},
        {"vsock:4294967295:5", "vsock:5"},
        {"unix:/run/guestd.sock", NULL},
        {"unix:/with:colon", NULL},
        {"tcp:127.0.0.1:80", NULL},
        {"tcp:localhost:0", NULL},
        {"tcp:[::1]:8080", NULL},
        {"tcp:::1:8080", "tcp:[::1]:8080"},
        {"fd:0", NULL},
        {"fd:17", NULL},
        {"firecracker:/tmp/v.sock:1024", NULL},
        {"firecracker:/a:b:9", NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address address;
        char buf[160];

        assert_int_equal(address_parse(rows[i][0], &address), 0);
        assert_string_equal(address_format(&address, buf, sizeof(buf)),
                            rows[i][1] ? rows[i][1] : rows[i][0]);
    }
}

static void what_is_no_address(void **state) {
    static const char *const rows[] = {
        "",
        "vsock",
        "vsock:",
        "vsock:x",
        "vsock:-1",
        "vsock: 1",
        "vsock:1 ",
        "vsock:0x10",
        "vsock:4294967295",
        "vsock:99999999999999999999",
        "vsock:1:2:3",
        "vsock::5",
        "vsock:5:",
        "vsock:4294967296:5",
        "unix:",
        "unix:relative",
        "tcp:80",
        "tcp::80",
        "tcp:host:",
        "tcp:host:65536",
        "tcp:host:http",
        "fd:",
        "fd:-1",
        "fd:2147483648",
        "firecracker:/a",
        "firecracker:a:5",
        "firecracker:/a:",
        "UNIX:/a",
        "http://x",
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct address address = {.port = 77};

        assert_int_equal(address_parse(rows[i], &address), -EINVAL);
        assert_int_equal(address.port, 77);
    }
}

static void a_path_that_is_no_socket_address(void **state) {
    char text[200] = "unix:/";
    struct address address;

    memset(text + 6, 'x', 106);
    assert_int_equal(address_parse(text, &address), 0);
    assert_int_equal(strlen(address.path), 107);
    text[112] = 'x';
    assert_int_equal(address_parse(text, &address), -ENAMETOOLONG);
    memcpy(text, "firecracker:/", 13);
    memset(text + 13, 'x', 120);
    strcpy(text + 133, ":5");
    assert_int_equal(address_parse(text, &address), -ENAMETOOLONG);
}

static void assert_flags(int fd, bool nonblocking) {
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), nonblocking);
}

static void assert_talks(int from, int to) {
    char byte = 0;

    assert_int_equal(send(from, "x", 1, 0), 1);
    assert_int_equal(recv(to, &byte, 1, MSG_WAITALL), 1);
    assert_int_equal(byte, 'x');
}

static void unix_sockets_are_private_from_birth(void **state) {
    struct address address = unix_address("private");
    mode_t mask = umask(0);
    struct stat st;
    int listener, fd, peer;

    listener = address_listen(&address, 5);
    assert_true(listener >= 0);
    assert_int_equal(umask(mask), 0); /* the caller's mask is back */
    assert_flags(listener, true);
    assert_int_equal(lstat(address.path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    fd = address_connect(&address, 1000);
    assert_true(fd >= 0);
    assert_flags(fd, false);
    peer = accept(listener, NULL, NULL);
    assert_talks(fd, peer);
    close(peer);
    close(fd);
    close(listener);
    unlink(address.path);
}

static void a_stale_socket_is_replaced_a_live_one_is_not(void **state) {
    struct address address = unix_address("stale");
    int first = address_listen(&address, 5);
    int second;

    assert_true(first >= 0);
    assert_int_equal(address_listen(&address, 5), -EADDRINUSE);
    close(first);
    assert_int_equal(access(address.path, F_OK), 0);
    second = address_listen(&address, 5);
    assert_true(second >= 0);
    close(second);
    assert_int_equal(address_connect(&address, 1000), -ECONNREFUSED);
    unlink(address.path);
    assert_int_equal(address_connect(&address, 1000), -ENOENT);
}

static void a_full_backlog_is_alive(void **state) {
    struct address address = unix_address("full");
    int listener = address_listen(&address, 0);
    int waiting = address_connect(&address, 1000);

    assert_true(listener >= 0 && waiting >= 0);
    assert_int_equal(address_listen(&address, 0), -EADDRINUSE);
    assert_int_equal(address_connect(&address, 20), -ETIMEDOUT);
    close(waiting);
    close(listener);
    unlink(address.path);
}

static void a_file_in_the_way_stays(void **state) {
    struct address address = unix_address("file");
    struct address lost = unix_address("no/such/folder");
    int fd = open(address.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

    close(fd);
    assert_int_equal(address_listen(&address, 5), -EADDRINUSE);
    assert_int_equal(access(address.path, F_OK), 0);
    unlink(address.path);
    assert_int_equal(address_listen(&lost, 5), -ENOENT);
}

static int local_port(int fd) {
    struct sockaddr_in in;
    socklen_t len = sizeof(in);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
    return ntohs(in.sin_port);
}

static void tcp_has_no_delay(void **state) {
    struct address address = {.family = ADDRESS_TCP, .path = "127.0.0.1"};
    int on = 0;
    socklen_t len = sizeof(on);
    int listener, fd, peer;

    listener = address_listen(&address, 5);
    assert_true(listener >= 0);
    assert_flags(listener, true);
    address.port = (uint32_t)local_port(listener);
    fd = address_connect(&address, 1000);
    assert_true(fd >= 0);
    assert_flags(fd, false);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
    assert_true(on);
    peer = accept(listener, NULL, NULL);
    assert_talks(peer, fd);
    close(peer);
    close(fd);
    assert_int_equal(address_listen(&address, 5), -EADDRINUSE);
    close(listener);
    assert_int_equal(address_connect(&address, 1000), -ECONNREFUSED);
}

static void inherited_sockets(void **state) {
    struct address address = {.family = ADDRESS_TCP, .path = "127.0.0.1"};
    struct address inherited = {.family = ADDRESS_FD};
    int pair[2], dgram[2], pipes[2];
    int listener = address_listen(&address, 5);

    assert_int_equal(fcntl(listener, F_SETFD, 0), 0);
    inherited.fd = listener;
    assert_int_equal(address_listen(&inherited, 5), listener);
    assert_flags(listener, true);
    assert_int_equal(address_connect(&inherited, 0), -EINVAL);
    close(listener);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    inherited.fd = pair[0];
    assert_int_equal(address_connect(&inherited, 0), pair[0]);
    assert_flags(pair[0], false);
    assert_int_equal(address_listen(&inherited, 5), -EINVAL);
    close(pair[0]);
    close(pair[1]);
    assert_int_equal(address_connect(&inherited, 0), -EBADF);

    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, dgram), 0);
    inherited.fd = dgram[0];
    assert_int_equal(address_connect(&inherited, 0), -EINVAL);
    close(dgram[0]);
    close(dgram[1]);
    assert_int_equal(pipe(pipes), 0);
    inherited.fd = pipes[0];
    assert_int_equal(address_connect(&inherited, 0), -ENOTSOCK);
    close(pipes[0]);
    close(pipes[1]);
}

static void vsock_listens_where_there_is_vsock(void **state) {
    struct address address = {.family = ADDRESS_VSOCK, .cid = UINT32_MAX, .port = 0};
    int probe = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int fd;

    address.port = 50000 + (uint32_t)getpid() % 10000;
    fd = address_listen(&address, 5);
    if (probe < 0) {
        assert_int_equal(fd, -EAFNOSUPPORT);
        assert_int_equal(address_connect(&address, 100), -EAFNOSUPPORT);
        return;
    }
    close(probe);
    assert_true(fd >= 0);
    assert_flags(fd, true);
    assert_int_equal(address_listen(&address, 5), -EADDRINUSE);
    close(fd);
}

/* A hypervisor's socket: takes one connection, reads the CONNECT line, says its answer. */
struct hypervisor {
    int listener;
    const char *answer; /* NULL: hangs up */
    char heard[64];
    pthread_t thread;
};

static void *hypervise(void *data) {
    struct hypervisor *h = data;
    size_t len = 0;
    int fd = accept(h->listener, NULL, NULL);

    while (len < sizeof(h->heard) - 1 && recv(fd, h->heard + len, 1, 0) == 1)
        if (h->heard[len++] == '\n')
            break;
    if (h->answer)
        send(fd, h->answer, strlen(h->answer), MSG_NOSIGNAL);
    if (h->answer)
        recv(fd, &(char){0}, 1, 0); /* until the client hangs up */
    close(fd);
    return NULL;
}

static int connect_through(const char *answer, int timeout_ms, char heard[64]) {
    struct address address = unix_address("hypervisor");
    struct hypervisor h = {.answer = answer};
    int fd;

    h.listener = address_listen(&address, 5);
    assert_true(h.listener >= 0);
    fcntl(h.listener, F_SETFL, 0);
    assert_int_equal(pthread_create(&h.thread, NULL, hypervise, &h), 0);
    address.family = ADDRESS_FIRECRACKER;
    address.port = 1024;
    fd = address_connect(&address, timeout_ms);
    if (fd >= 0) {
        char rest[4] = {0};

        /* What followed the OK line was left for us. */
        assert_int_equal(recv(fd, rest, 3, MSG_WAITALL), 3);
        assert_string_equal(rest, "abc");
        close(fd);
        fd = 0;
    }
    pthread_join(h.thread, NULL);
    memcpy(heard, h.heard, 64);
    close(h.listener);
    unlink(address.path);
    return fd;
}

static void firecracker_says_connect_and_reads_ok(void **state) {
    char heard[64];

    assert_int_equal(connect_through("OK 1073741824\nabc", 1000, heard), 0);
    assert_string_equal(heard, "CONNECT 1024\n");
    assert_int_equal(connect_through(NULL, 1000, heard), -ECONNREFUSED);
    assert_int_equal(connect_through("NO\n", 1000, heard), -EPROTO);
    assert_int_equal(connect_through("OK 11111111111111111111111111111111111111", 1000, heard),
                     -EPROTO);
    assert_int_equal(connect_through("OK", 50, heard), -ETIMEDOUT);
}

static void firecracker_does_not_listen(void **state) {
    struct address address = {.family = ADDRESS_FIRECRACKER, .path = "/x", .port = 1};

    assert_int_equal(address_listen(&address, 5), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_both_ways),
        cmocka_unit_test(what_is_no_address),
        cmocka_unit_test(a_path_that_is_no_socket_address),
        cmocka_unit_test(unix_sockets_are_private_from_birth),
        cmocka_unit_test(a_stale_socket_is_replaced_a_live_one_is_not),
        cmocka_unit_test(a_full_backlog_is_alive),
        cmocka_unit_test(a_file_in_the_way_stays),
        cmocka_unit_test(tcp_has_no_delay),
        cmocka_unit_test(inherited_sockets),
        cmocka_unit_test(vsock_listens_where_there_is_vsock),
        cmocka_unit_test(firecracker_says_connect_and_reads_ok),
        cmocka_unit_test(firecracker_does_not_listen),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
