/* Rows about files, in tmpfs so that no disk is measured: an upload, a removal. */
#include "bench.h"

#include <fcntl.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/message.h"

enum {
    CHUNK = 256 << 10,
    ROUNDS = 5,
    FOLDERS = 100,
    FILES = 1000,
};
#define UPLOAD (1ull << 30)
#define PLACE "/dev/shm/guestd-bench"

static char chunk[CHUNK];

/* socket → file by one read and one write of 256 KiB: the limit. */
static double bare_upload(void) {
    double start = now_us();
    int to[2], fd;
    pid_t writer;

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, to) < 0)
        die("socketpair");
    writer = fork();
    if (writer == 0) {
        ssize_t n;

        close(to[1]);
        fd = open(PLACE "-upload", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (fd < 0)
            die(PLACE);
        while ((n = read(to[0], chunk, sizeof chunk)) > 0)
            write_all(fd, chunk, (size_t)n);
        _exit(0);
    }
    close(to[0]);
    for (uint64_t left = UPLOAD; left > 0; left -= CHUNK)
        write_all(to[1], chunk, sizeof chunk);
    close(to[1]);
    waitpid(writer, NULL, 0);
    unlink(PLACE "-upload");
    return now_us() - start;
}

static uint64_t uint_of(const struct message *message, const char *key) {
    for (uint32_t i = 0; i < message->params.via.map.size; i++) {
        const msgpack_object_kv *kv = &message->params.via.map.ptr[i];

        if (kv->key.via.str.size == strlen(key) &&
            memcmp(kv->key.via.str.ptr, key, strlen(key)) == 0)
            return kv->val.via.u64;
    }
    return 0;
}

/* Waits until guestd takes more. */
static uint64_t await_credit(struct client *client) {
    struct message message;
    struct slice body;
    uint64_t bytes;

    body.data = client_frame(client, &body.len);
    if (message_decode(body, 16, &message) != 0 || message.kind != MESSAGE_NOTIFICATION)
        die("upload");
    bytes = uint_of(&message, "bytes");
    message_deinit(&message);
    return bytes;
}

static double our_upload(struct client *client) {
    uint64_t granted = CHUNK; /* limits.stream_credit */
    msgpack_sbuffer head;
    msgpack_packer pk;
    double start;
    uint32_t id;

    msgpack_sbuffer_init(&head);
    msgpack_packer_init(&pk, &head, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 2);
    pack_kv_text(&pk, "path", PLACE "-upload");
    pack_kv_bool(&pk, "stream", true);
    start = now_us();
    id = client_request(client, "file.write", head.data, head.size);
    msgpack_sbuffer_clear(&head);
    msgpack_pack_map(&pk, 2);
    pack_kv_uint(&pk, "id", id);
    pack_text(&pk, "data");
    msgpack_pack_bin(&pk, CHUNK);
    for (uint64_t left = UPLOAD; left > 0; left -= CHUNK) {
        while (granted < CHUNK)
            granted += await_credit(client);
        client_notify(client, "stream.data", head.data, head.size, chunk, sizeof chunk);
        granted -= CHUNK;
    }
    msgpack_sbuffer_clear(&head);
    msgpack_pack_map(&pk, 1);
    pack_kv_uint(&pk, "id", id);
    client_notify(client, "stream.end", head.data, head.size, "", 0);
    client_await(client, id);
    msgpack_sbuffer_destroy(&head);
    unlink(PLACE "-upload");
    return now_us() - start;
}

void bench_upload(const struct guestd *guestd) {
    double ours[ROUNDS], bare[ROUNDS];
    struct client client;

    memset(chunk, 'u', sizeof chunk);
    client_open(&client, guestd);
    for (unsigned i = 0; i < ROUNDS; i++) {
        bare[i] = bare_upload();
        ours[i] = our_upload(&client);
    }
    client_close(&client);
    row("1 GiB upload to tmpfs, read/write / ours", median(bare, ROUNDS) / median(ours, ROUNDS),
        "x", false, 0.7, "%.0f MiB/s / %.0f MiB/s", 1024e6 / median(ours, ROUNDS),
        1024e6 / median(bare, ROUNDS));
}

static void make_tree(void) {
    char path[128];

    mkdir(PLACE, 0700);
    for (unsigned i = 0; i < FOLDERS; i++) {
        snprintf(path, sizeof path, PLACE "/%u", i);
        mkdir(path, 0700);
        for (unsigned j = 0; j < FILES; j++) {
            snprintf(path, sizeof path, PLACE "/%u/%u", i, j);
            close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        }
    }
}

/* One thread, unlinkat on names that are known: the limit. */
static double bare_remove(void) {
    double start = now_us();
    char name[32];

    for (unsigned i = 0; i < FOLDERS; i++) {
        int fd;

        snprintf(name, sizeof name, PLACE "/%u", i);
        fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        for (unsigned j = 0; j < FILES; j++) {
            snprintf(name, sizeof name, "%u", j);
            if (unlinkat(fd, name, 0) < 0)
                die("unlinkat");
        }
        close(fd);
        snprintf(name, sizeof name, PLACE "/%u", i);
        rmdir(name);
    }
    rmdir(PLACE);
    return now_us() - start;
}

void bench_remove(const struct guestd *guestd) {
    static const char params[] = "\x81\xa4"
                                 "path"
                                 "\xb5" PLACE;
    double ours[ROUNDS], bare[ROUNDS];
    struct client client;

    _Static_assert(sizeof PLACE - 1 == 0x15, "the fixstr's length");
    client_open(&client, guestd);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double start;

        make_tree();
        bare[i] = bare_remove();
        make_tree();
        start = now_us();
        client_await(&client, client_request(&client, "file.remove", params, sizeof params - 1));
        ours[i] = now_us() - start;
    }
    client_close(&client);
    row("remove 100,000 files, ours / unlinkat", median(ours, ROUNDS) / median(bare, ROUNDS), "x",
        true, 1.1, "%.0f ms / %.0f ms", median(ours, ROUNDS) / 1e3, median(bare, ROUNDS) / 1e3);
}
