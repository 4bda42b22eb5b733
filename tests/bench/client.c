/* The thinnest client there can be: what is measured is guestd. */
#include "bench.h"

#include <errno.h>
#include <msgpack.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/frame.h"
#include "proto/message.h"

static int dial(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    close(fd);
    return -1;
}

static pid_t child_of(pid_t parent) {
    char path[64], text[64] = "";
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    f = fopen(path, "re");
    if (!f || !fgets(text, sizeof text, f))
        die("no agent");
    fclose(f);
    return atoi(text);
}

static void client_init(struct client *client) {
    *client = (struct client){.fd = -1, .cap = 2 << 20};
    client->in = malloc(client->cap);
    if (!client->in)
        die("malloc");
}

void guestd_start(struct guestd *guestd, const char *binary) {
    struct client client;
    double start;

    client_init(&client);
    snprintf(guestd->dir, sizeof guestd->dir, "/tmp/guestd-bench-XXXXXX");
    if (!mkdtemp(guestd->dir))
        die("mkdtemp");
    snprintf(guestd->socket, sizeof guestd->socket, "%s/s", guestd->dir);
    start = now_us();
    guestd->supervisor = vfork();
    if (guestd->supervisor == 0) {
        char listen[128];

        snprintf(listen, sizeof listen, "unix:%s", guestd->socket);
        execl(binary, "guestd", "--listen", listen, (char *)NULL);
        _exit(127);
    }
    prctl(PR_SET_TIMERSLACK, 1); /* ours: it would be inherited */
    while ((client.fd = dial(guestd->socket)) < 0 && now_us() - start < 5e6)
        usleep(10); /* who looks without a pause takes a processor from what it waits for */
    if (client.fd < 0)
        die("guestd does not listen");
    client_await(&client, client_request(&client, "ping", "\x80", 1));
    guestd->answered_us = now_us() - start;
    client_close(&client);
    guestd->agent = child_of(guestd->supervisor);
}

void guestd_stop(struct guestd *guestd) {
    kill(guestd->supervisor, SIGTERM);
    waitpid(guestd->supervisor, NULL, 0);
    rmdir(guestd->dir);
}

void client_open(struct client *client, const struct guestd *guestd) {
    client_init(client);
    client->fd = dial(guestd->socket);
    if (client->fd < 0)
        die("connect");
}

void client_close(struct client *client) {
    close(client->fd);
    free(client->in);
}

uint32_t client_request(struct client *client, const char *method, const void *params, size_t len) {
    uint8_t header[FRAME_HEADER] = {0};
    msgpack_sbuffer frame;
    msgpack_packer pk;

    msgpack_sbuffer_init(&frame);
    msgpack_packer_init(&pk, &frame, msgpack_sbuffer_write);
    msgpack_sbuffer_write(&frame, (const char *)header, sizeof header);
    msgpack_pack_array(&pk, 4);
    msgpack_pack_uint8(&pk, MESSAGE_REQUEST);
    msgpack_pack_uint32(&pk, ++client->msgid);
    pack_text(&pk, method);
    msgpack_sbuffer_write(&frame, params, len);
    frame_header((uint8_t *)frame.data, (uint32_t)(frame.size - FRAME_HEADER));
    write_all(client->fd, frame.data, frame.size);
    msgpack_sbuffer_destroy(&frame);
    return client->msgid;
}

void client_notify(struct client *client, const char *method, const void *head, size_t head_len,
                   const void *data, size_t data_len) {
    static char frame[1 << 20];
    msgpack_sbuffer body;
    msgpack_packer pk;

    msgpack_sbuffer_init(&body);
    msgpack_packer_init(&pk, &body, msgpack_sbuffer_write);
    msgpack_pack_array(&pk, 3);
    msgpack_pack_uint8(&pk, MESSAGE_NOTIFICATION);
    pack_text(&pk, method);
    msgpack_sbuffer_write(&body, head, head_len);
    frame_header((uint8_t *)frame, (uint32_t)(body.size + data_len));
    memcpy(frame + FRAME_HEADER, body.data, body.size);
    memcpy(frame + FRAME_HEADER + body.size, data, data_len);
    write_all(client->fd, frame, FRAME_HEADER + body.size + data_len);
    msgpack_sbuffer_destroy(&body);
}

const uint8_t *client_frame(struct client *client, size_t *ret_len) {
    for (;;) {
        struct slice body;
        size_t need;
        ssize_t n;
        int r =
            frame_pop(client->in + client->at, client->len - client->at, 64 << 20, &body, &need);

        if (r < 0)
            die("frame");
        if (r > 0) {
            client->at += FRAME_HEADER + body.len;
            *ret_len = body.len;
            return body.data;
        }
        if (client->at + need > client->cap || client->at == client->len) {
            memmove(client->in, client->in + client->at, client->len - client->at);
            client->len -= client->at;
            client->at = 0;
        }
        n = read(client->fd, client->in + client->len, client->cap - client->len);
        if (n <= 0)
            die("guestd closed the connection");
        client->len += (size_t)n;
    }
}

void client_await(struct client *client, uint32_t msgid) {
    for (;;) {
        struct message message;
        struct slice body;

        body.data = client_frame(client, &body.len);
        if (message_decode(body, 16, &message) != 0)
            die("decode");
        if (message.kind == MESSAGE_RESPONSE && message.msgid == msgid) {
            if (message.error.type != MSGPACK_OBJECT_NIL) {
                msgpack_object_print(stderr, message.error);
                die(" is the answer");
            }
            message_deinit(&message);
            return;
        }
        message_deinit(&message);
    }
}
