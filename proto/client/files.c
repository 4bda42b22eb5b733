/* Files up, files down, listings: the streams that every program would otherwise write again. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/client.h"
#include "proto/client/fd.h"
#include "proto/client/params.h"

struct transfer {
    int fd;
    guestproto_progress *progress;
    void *context;
    uint64_t bytes;
};

static ssize_t read_piece(void *context, void *buf, size_t len) {
    struct transfer *transfer = context;
    ssize_t n = read(transfer->fd, buf, len);

    if (n >= 0)
        return n;
    return errno == EINTR ? -EAGAIN : -errno;
}

static void on_sent(void *context, uint64_t bytes) {
    struct transfer *transfer = context;

    if (transfer->progress)
        transfer->progress(transfer->context, bytes);
}

int guestproto_upload_fd(struct guestproto *client, struct guestproto_params *params, int fd,
                         guestproto_progress *progress, void *context,
                         struct guestproto_reply *ret_reply) {
    struct transfer transfer = {.fd = fd, .progress = progress, .context = context};
    struct guestproto_stream stream = {
        .context = &transfer,
        .source = read_piece,
        .source_fd = fd,
        .poll_source = true,
        .sent = on_sent,
    };

    /* poll(2) passes over a negative fd for ever. */
    if (fd < 0)
        return error_set(client, EBADF, "%s", strerror(EBADF));
    params_put_stream(params);
    return guestproto_call_stream(client, "file.write", params, &stream, ret_reply);
}

static int on_file_data(void *context, const char *channel, uint64_t off, const void *data,
                        size_t len) {
    struct transfer *transfer = context;
    int r;

    if (strcmp(channel, "file") != 0)
        return 0;
    r = fd_write_all(transfer->fd, data, len);
    if (r < 0)
        return r;
    transfer->bytes += len;
    if (transfer->progress)
        transfer->progress(transfer->context, transfer->bytes);
    return 0;
}

/* A file with a hole where bytes should be is no copy. */
static int on_file_gap(void *context, const char *channel, uint64_t from, uint64_t to) {
    return strcmp(channel, "file") == 0 ? -EIO : 0;
}

int guestproto_download_fd(struct guestproto *client, struct guestproto_params *params, int fd,
                           guestproto_progress *progress, void *context,
                           struct guestproto_reply *ret_reply) {
    struct transfer transfer = {.fd = fd, .progress = progress, .context = context};
    struct guestproto_stream stream = {
        .context = &transfer, .data = on_file_data, .gap = on_file_gap};

    params_put_stream(params);
    return guestproto_call_stream(client, "file.read", params, &stream, ret_reply);
}

struct listing {
    guestproto_on_entry *on_entry;
    void *context;
};

static int on_entries(void *context, const char *event, const msgpack_object *params) {
    struct listing *listing = context;
    const msgpack_object *entries = guestproto_get(params, "entries");

    if (strcmp(event, "entries") != 0)
        return 0;
    if (!entries || entries->type != MSGPACK_OBJECT_ARRAY)
        return -EPROTO;
    for (uint32_t i = 0; i < entries->via.array.size; i++) {
        int r = listing->on_entry(listing->context, &entries->via.array.ptr[i]);
        if (r != 0)
            return r;
    }
    return 0;
}

int guestproto_list(struct guestproto *client, struct guestproto_params *params,
                    guestproto_on_entry *on_entry, void *context,
                    struct guestproto_reply *ret_reply) {
    struct listing listing = {.on_entry = on_entry, .context = context};
    struct guestproto_stream stream = {.context = &listing, .event = on_entries};

    params_put_stream(params);
    return guestproto_call_stream(client, "file.list", params, &stream, ret_reply);
}
