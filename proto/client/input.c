/* process.input from a file or a pipe: into the stdin of a program that runs already. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/params.h"
#include "proto/client/request.h"

#define PIECE_BYTES (64u << 10)
/* How long to wait where the guest has no room: the program reads when it likes. */
#define BUSY_MS 20

/* One piece, whose place is told only where it is repeated: see side.c. */
struct piece {
    uint64_t off;
};

static int prepare(struct request *request, struct guestproto_params **ret_params, char *where) {
    const struct piece *piece = request->ask->context;

    if (request->attempt == 0)
        return 0;
    *ret_params = params_copy(request->ask->params, NULL);
    if (!*ret_params)
        return error_set(request->client, ENOMEM, "no memory");
    guestproto_put_int(*ret_params, "off", (int64_t)piece->off);
    snprintf(where, WHERE_SIZE, "stdin %llu", (unsigned long long)piece->off);
    return 0;
}

static const struct again by_offset = {prepare, false};

static int send_once(struct guestproto *client, const struct guestproto_params *selector,
                     struct piece *piece, const void *data, size_t len) {
    struct guestproto_params *params = params_copy(selector, NULL);
    /* A cancel is for the whole, and looked for between two pieces. */
    struct ask ask = {
        .method = "process.input",
        .params = params,
        .again = &by_offset,
        .context = piece,
        .deaf = true,
    };
    struct guestproto_reply reply = {0};
    bool closed = false;
    int r;

    if (!params)
        return error_set(client, ENOMEM, "no memory");
    guestproto_put_bytes(params, "data", data, len);
    r = request_run(client, &ask, &reply);
    guestproto_params_free(params);
    if (r == 0 &&
        (!guestproto_get_uint(&reply.result, "off", &piece->off) || piece->off > INT64_MAX))
        r = error_fatal(client, EPROTO, "the guest broke the protocol: input without off");
    guestproto_get_bool(&reply.result, "closed", &closed);
    guestproto_reply_free(&reply);
    if (r == 0 && closed)
        return error_set(client, EPIPE, "the program reads no more");
    return r;
}

/* Waits until fd can be read, `ms` have passed (< 0: no end), or a cancel came: -ECANCELED. */
static int wait_for(struct guestproto *client, int fd, int ms) {
    struct pollfd fds[] = {{.fd = fd, .events = POLLIN}, {.fd = client->wake_fd, .events = POLLIN}};
    uint64_t rings;

    if (!atomic_load(&client->cancel) && poll(fds, 2, ms) < 0 && errno != EINTR)
        return error_set(client, errno, "%s", strerror(errno));
    if (!atomic_exchange(&client->cancel, false))
        return 0;
    if (read(client->wake_fd, &rings, sizeof(rings)) < 0 && errno != EAGAIN)
        return error_set(client, errno, "%s", strerror(errno));
    return error_set(client, ECANCELED, "cancelled");
}

static int send_all(struct guestproto *client, const struct guestproto_params *selector,
                    struct piece *piece, const void *data, size_t len) {
    int r;

    for (;;) {
        r = send_once(client, selector, piece, data, len);
        if (r != GUESTPROTO_BUSY)
            return r;
        r = wait_for(client, -1, BUSY_MS);
        if (r != 0)
            return r;
    }
}

int guestproto_input_fd(struct guestproto *client, const struct guestproto_params *params, int fd,
                        guestproto_progress *progress, void *context) {
    size_t room = client->stdin_buffer < PIECE_BYTES ? client->stdin_buffer : PIECE_BYTES;
    struct piece piece = {0};
    char data[PIECE_BYTES];
    uint64_t bytes = 0;
    ssize_t n;
    int r;

    if (fd < 0)
        return error_set(client, EBADF, "%s", strerror(EBADF));
    /* Nothing, to learn where its stdin stands, and whether it has one. */
    r = send_all(client, params, &piece, "", 0);
    while (r == 0) {
        r = wait_for(client, fd, -1);
        n = r == 0 ? read(fd, data, room) : 0;
        if (r != 0 || n == 0)
            return r;
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return error_set(client, errno, "%s", strerror(errno));
        if (n < 0)
            continue;
        r = send_all(client, params, &piece, data, (size_t)n);
        bytes += (size_t)n;
        if (r == 0 && progress)
            progress(context, bytes);
    }
    return r;
}
