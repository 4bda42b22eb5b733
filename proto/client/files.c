/* Files up, files down, listings: the streams that every program would otherwise write again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/client/fd.h"
#include "proto/client/key.h"
#include "proto/client/params.h"

struct transfer {
    int fd;
    off_t start; /* of an upload in fd; -1: it can't be read twice */
    guestproto_progress *progress;
    void *context;
    uint64_t bytes;
    uint64_t size; /* of a download: what must be the same when it goes on */
    int64_t modified_at;
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

/* Nothing of a broken upload is left, so it begins at its start. */
static int prepare_upload(struct request *request, struct guestproto_params **ret_params,
                          char *where) {
    struct transfer *transfer = request->ask->context;

    if (request->attempt == 0)
        return 0;
    if (lseek(transfer->fd, transfer->start, SEEK_SET) < 0)
        return error_set(request->client, errno, "the file sent: %s", strerror(errno));
    snprintf(where, WHERE_SIZE, "its start");
    return 0;
}

static const struct again from_start = {prepare_upload, false};

/* Where a file stands; -1: a pipe, a terminal, …: what was read of it is gone. */
static off_t place_of(int fd) {
    struct stat st;

    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? lseek(fd, 0, SEEK_CUR) : -1;
}

int guestproto_upload_fd(struct guestproto *client, struct guestproto_params *params, int fd,
                         guestproto_progress *progress, void *context,
                         struct guestproto_reply *ret_reply) {
    struct transfer transfer = {
        .fd = fd, .start = place_of(fd), .progress = progress, .context = context};
    struct guestproto_stream stream = {
        .context = &transfer,
        .source = read_piece,
        .source_fd = fd,
        .poll_source = true,
        .sent = on_sent,
    };
    struct ask ask = {
        .method = "file.write",
        .params = params,
        .stream = &stream,
        .context = &transfer,
        .up = UP_UPLOAD,
    };
    int r;

    /* poll(2) passes over a negative fd for ever. */
    if (fd < 0)
        return error_set(client, EBADF, "%s", strerror(EBADF));
    params_put_stream(params);
    if (transfer.start >= 0 && !params_true(params, "append"))
        ask.again = &from_start;
    r = request_run(client, &ask, ret_reply);
    if (r < 0 && client->lost && !ask.again && resume_possible(client))
        return error_fatal(client, -r, "the connection was lost, and this can't be sent again: %s",
                           transfer.start < 0 ? "it came from a pipe" : "it was appended");
    return r;
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

static const struct again as_it_is = {NULL, false};

/* Which file it is that is being read. */
static int identify(struct guestproto *client, const struct guestproto_params *params,
                    const struct again *again, uint64_t *ret_size, int64_t *ret_modified_at) {
    static const char *const without[] = {"off", "len", "window", "stream", NULL};
    struct guestproto_params *stat = params_copy(params, without);
    struct ask ask = {.method = "file.stat", .params = stat, .again = again, .deaf = true};
    struct guestproto_reply reply = {0};
    const msgpack_object *entry;
    int r;

    if (!stat)
        return error_set(client, ENOMEM, "no memory");
    guestproto_put_bool(stat, "follow", true);
    r = request_run(client, &ask, &reply);
    guestproto_params_free(stat);
    entry = guestproto_get(&reply.result, "entry");
    if (r == 0 && (!guestproto_get_uint(entry, "size", ret_size) ||
                   !guestproto_get_int(entry, "modified_at", ret_modified_at)))
        r = error_fatal(client, EPROTO, "the guest broke the protocol: an entry without size");
    guestproto_reply_free(&reply);
    return r;
}

/* The rest of another file would be no end of this one. */
static int prepare_download(struct request *request, struct guestproto_params **ret_params,
                            char *where) {
    static const char *const without[] = {"off", "len", NULL};
    const struct guestproto_params *asked = request->ask->params;
    struct transfer *transfer = request->ask->context;
    struct guestproto *client = request->client;
    uint64_t len = params_uint(asked, "len", UINT64_MAX), size;
    int64_t modified_at;
    int r;

    if (request->attempt == 0)
        return 0;
    r = identify(client, asked, NULL, &size, &modified_at);
    if (r != 0)
        return r;
    if (size != transfer->size || modified_at != transfer->modified_at)
        return error_set(client, ESTALE,
                         "the connection was lost, and the file has changed meanwhile");
    *ret_params = params_copy(asked, without);
    if (!*ret_params)
        return error_set(client, ENOMEM, "no memory");
    guestproto_put_int(*ret_params, "off",
                       (int64_t)(params_uint(asked, "off", 0) + transfer->bytes));
    if (len != UINT64_MAX)
        guestproto_put_int(*ret_params, "len", (int64_t)(len - transfer->bytes));
    key_where(request, where);
    return 0;
}

static const struct again from_offset = {prepare_download, false};

int guestproto_download_fd(struct guestproto *client, struct guestproto_params *params, int fd,
                           guestproto_progress *progress, void *context,
                           struct guestproto_reply *ret_reply) {
    struct transfer transfer = {.fd = fd, .progress = progress, .context = context};
    struct guestproto_stream stream = {
        .context = &transfer, .data = on_file_data, .gap = on_file_gap};
    struct ask ask = {
        .method = "file.read", .params = params, .stream = &stream, .context = &transfer};

    params_put_stream(params);
    if (resume_possible(client) &&
        identify(client, params, &as_it_is, &transfer.size, &transfer.modified_at) == 0)
        ask.again = &from_offset;
    return request_run(client, &ask, ret_reply);
}

struct listing {
    guestproto_on_entry *on_entry;
    void *context;
    bool begun;
};

static int on_entries(void *context, const char *event, const msgpack_object *params) {
    struct listing *listing = context;
    const msgpack_object *entries = guestproto_get(params, "entries");

    if (strcmp(event, "entries") != 0)
        return 0;
    if (!entries || entries->type != MSGPACK_OBJECT_ARRAY)
        return -EPROTO;
    listing->begun = true;
    for (uint32_t i = 0; i < entries->via.array.size; i++) {
        int r = listing->on_entry(listing->context, &entries->via.array.ptr[i]);
        if (r != 0)
            return r;
    }
    return 0;
}

/* A tree has no offsets: half a listing can only begin anew, at whoever shows it. */
static int prepare_list(struct request *request, struct guestproto_params **ret_params,
                        char *where) {
    const struct listing *listing = request->ask->context;

    if (listing->begun)
        return error_fatal(request->client, ECONNRESET,
                           "the connection was lost in the middle of the listing");
    return 0;
}

static const struct again from_no_entry = {prepare_list, false};

int guestproto_list(struct guestproto *client, struct guestproto_params *params,
                    guestproto_on_entry *on_entry, void *context,
                    struct guestproto_reply *ret_reply) {
    struct listing listing = {.on_entry = on_entry, .context = context};
    struct guestproto_stream stream = {.context = &listing, .event = on_entries};

    struct ask ask = {
        .method = "file.list",
        .params = params,
        .stream = &stream,
        .again = &from_no_entry,
        .context = &listing,
    };

    params_put_stream(params);
    return request_run(client, &ask, ret_reply);
}
