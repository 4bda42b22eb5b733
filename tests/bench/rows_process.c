/* Rows about programs: how fast one starts, how fast its output flows, what a reader that stops
 * costs. */
#include "bench.h"

#include <errno.h>
#include <msgpack.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/message.h"

enum {
    EXECS = 400,
    ROUNDS = 5,
    CHUNK = 256 << 10,
    STALL_S = 4,
};
#define OUTPUT 1000000000ull

extern char **environ;

int produce(uint64_t bytes) {
    static char chunk[CHUNK];

    memset(chunk, 'x', sizeof chunk);
    while (bytes > 0) {
        size_t len = bytes < sizeof chunk ? (size_t)bytes : sizeof chunk;

        write_all(STDOUT_FILENO, chunk, len);
        bytes -= len;
    }
    return 0;
}

/* posix_spawn is clone(CLONE_VM|CLONE_VFORK) and exec in every libc of today. */
static double bare_exec(void) {
    char *const argv[] = {"/bin/true", NULL};
    double start = now_us();
    pid_t pid;

    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0)
        die("posix_spawn");
    waitpid(pid, NULL, 0);
    return now_us() - start;
}

void bench_exec(const struct guestd *guestd) {
    static const char params[] = "\x81\xa3"
                                 "cmd"
                                 "\xa9"
                                 "/bin/true";
    static double ours[EXECS], bare[EXECS];
    struct client client;

    client_open(&client, guestd);
    for (unsigned i = 0; i < EXECS; i++) {
        double start;

        bare[i] = bare_exec();
        start = now_us();
        client_await(&client, client_request(&client, "exec", params, sizeof params - 1));
        ours[i] = now_us() - start;
    }
    client_close(&client);
    row("exec /bin/true, p50 / bare spawn loop", median(ours, EXECS) / median(bare, EXECS), "x",
        true, 1.4, "%.0f us / %.0f us", median(ours, EXECS), median(bare, EXECS));
}

/* pipe → socket, as a C program relays it: the limit. */
static double bare_stream(const char *self) {
    static char chunk[CHUNK];
    int out[2], to[2];
    uint64_t left = OUTPUT;
    double start;
    pid_t producer, relay;

    if (pipe(out) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, to) < 0)
        die("pipe");
    start = now_us();
    producer = fork();
    if (producer == 0) {
        char bytes[32];

        snprintf(bytes, sizeof bytes, "%llu", OUTPUT);
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        close(out[1]);
        execl(self, self, "produce", bytes, (char *)NULL);
        _exit(127);
    }
    relay = fork();
    if (relay == 0) {
        ssize_t n;

        close(out[1]);
        while ((n = read(out[0], chunk, sizeof chunk)) > 0)
            write_all(to[1], chunk, (size_t)n);
        _exit(0);
    }
    close(out[0]);
    close(out[1]);
    close(to[1]);
    while (left > 0) {
        ssize_t n = read(to[0], chunk, sizeof chunk);

        if (n <= 0)
            die("relay");
        left -= (uint64_t)n;
    }
    close(to[0]);
    waitpid(producer, NULL, 0);
    waitpid(relay, NULL, 0);
    return now_us() - start;
}

static uint32_t start_stream(struct client *client, const char *self) {
    msgpack_sbuffer params;
    msgpack_packer pk;
    char bytes[32];
    uint32_t msgid;

    snprintf(bytes, sizeof bytes, "%llu", OUTPUT);
    msgpack_sbuffer_init(&params);
    msgpack_packer_init(&pk, &params, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 4);
    pack_kv_text(&pk, "cmd", self);
    pack_text(&pk, "args");
    msgpack_pack_array(&pk, 2);
    pack_text(&pk, "produce");
    pack_text(&pk, bytes);
    pack_kv_bool(&pk, "stream", true);
    pack_kv_uint(&pk, "window", 4 << 20);
    msgid = client_request(client, "exec", params.data, params.size);
    msgpack_sbuffer_destroy(&params);
    return msgid;
}

static void credit(struct client *client, uint32_t id, uint64_t bytes) {
    msgpack_sbuffer params;
    msgpack_packer pk;

    msgpack_sbuffer_init(&params);
    msgpack_packer_init(&pk, &params, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 2);
    pack_kv_uint(&pk, "id", id);
    pack_kv_uint(&pk, "bytes", bytes);
    client_notify(client, "stream.credit", params.data, params.size, "", 0);
    msgpack_sbuffer_destroy(&params);
}

static uint64_t data_len(const struct message *message) {
    for (uint32_t i = 0; i < message->params.via.map.size; i++)
        if (message->params.via.map.ptr[i].val.type == MSGPACK_OBJECT_BIN)
            return message->params.via.map.ptr[i].val.via.bin.size;
    return 0;
}

/* Reads a whole streamed exec, giving credit back; stops for `stall_s` once, after the first
 * megabytes. */
static uint64_t drain(struct client *client, uint32_t msgid, unsigned stall_s) {
    uint64_t total = 0, owed = 0;

    for (;;) {
        struct message message;
        struct slice body;
        uint64_t len;
        bool last;

        body.data = client_frame(client, &body.len);
        if (message_decode(body, 16, &message) != 0)
            die("decode");
        last = message.kind == MESSAGE_RESPONSE;
        len = last ? 0 : data_len(&message);
        message_deinit(&message);
        if (last)
            return total;
        total += len;
        owed += len;
        if (stall_s && total > 8 << 20) {
            sleep(stall_s);
            stall_s = 0;
        }
        if (owed >= 1 << 20) {
            credit(client, msgid, owed);
            owed = 0;
        }
    }
}

void bench_stream(const struct guestd *guestd, const char *self) {
    double ours[ROUNDS], bare[ROUNDS];
    struct client client;

    client_open(&client, guestd);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double start;

        bare[i] = bare_stream(self);
        start = now_us();
        if (drain(&client, start_stream(&client, self), 0) != OUTPUT)
            die("lost output");
        ours[i] = now_us() - start;
    }
    client_close(&client);
    row("1 GB of stdout, pipe to socket / ours", median(bare, ROUNDS) / median(ours, ROUNDS), "x",
        false, 0.7, "%.0f MB/s / %.0f MB/s", OUTPUT / median(ours, ROUNDS),
        OUTPUT / median(bare, ROUNDS));
}

/* Looks at the agent's resident size for a while and exits with the most it grew, in MiB. */
static pid_t watch_growth(pid_t agent) {
    uint64_t before = process_rss_kb(agent), most = before;
    pid_t watcher = fork();

    if (watcher != 0)
        return watcher;
    for (double until = now_us() + (STALL_S + 2) * 1e6; now_us() < until; usleep(50000)) {
        uint64_t kb = process_rss_kb(agent);

        most = kb > most ? kb : most;
    }
    most = (most - before + 1023) >> 10;
    _exit(most > 255 ? 255 : (int)most);
}

void bench_stall(const struct guestd *guestd, const char *self) {
    struct client client;
    pid_t watcher;
    uint64_t total;
    int status;

    client_open(&client, guestd);
    watcher = watch_growth(guestd->agent);
    total = drain(&client, start_stream(&client, self), STALL_S);
    client_close(&client);
    waitpid(watcher, &status, 0);
    row("a reader that stops 4 s: the agent grows", WEXITSTATUS(status), "MiB", true, 16,
        "in 1 GB of output");
    row("a reader that stops 4 s: bytes lost", (double)(OUTPUT - total), "bytes", true, 0,
        "read on to the end");
}
