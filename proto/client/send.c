/* The frames that a client sends, written straight into what is queued. */
#include <errno.h>
#include <string.h>

#include "proto/client/params.h"
#include "proto/client/request.h"

/* Small enough that several are under way at once: the guest credits each as it reaches the disk.
 */
#define PIECE_BYTES (128u << 10)
/* Header, array, method and map of a stream.data notification, generously. */
#define PIECE_HEAD 64

struct frame_writer {
    struct buffer *out;
    size_t at; /* where the frame begins, counted from out->start: the buffer may move */
    bool failed;
    msgpack_packer packer;
};

static int write_out(void *data, const char *bytes, size_t len) {
    struct frame_writer *writer = data;
    uint8_t *room = writer->failed ? NULL : buffer_room(writer->out, len);

    if (!room) {
        writer->failed = true;
        return -1;
    }
    memcpy(room, bytes, len);
    writer->out->end += len;
    return 0;
}

static msgpack_packer *frame_begin(struct frame_writer *writer, struct buffer *out) {
    *writer = (struct frame_writer){.out = out, .at = buffer_len(out)};
    msgpack_packer_init(&writer->packer, writer, write_out);
    write_out(writer, "\0\0\0\0", FRAME_HEADER);
    return &writer->packer;
}

/* A frame that could not be finished leaves no trace. */
static bool frame_end(struct frame_writer *writer) {
    struct buffer *out = writer->out;

    if (writer->failed)
        out->end = out->start + writer->at;
    else
        frame_header(out->data + out->start + writer->at,
                     (uint32_t)(buffer_len(out) - writer->at - FRAME_HEADER));
    return !writer->failed;
}

static msgpack_packer *notify(struct frame_writer *writer, struct request *request,
                              const char *method, unsigned pairs) {
    msgpack_packer *pk = frame_begin(writer, &request->client->wire.out);

    msgpack_pack_array(pk, 3);
    msgpack_pack_int(pk, MESSAGE_NOTIFICATION);
    pack_text(pk, method);
    msgpack_pack_map(pk, pairs);
    pack_kv_uint(pk, "id", request->id);
    return pk;
}

bool send_request(struct request *request, const char *method,
                  const struct guestproto_params *params) {
    struct frame_writer writer;
    msgpack_packer *pk = frame_begin(&writer, &request->client->wire.out);
    uint64_t window = request->stream->window;
    uint32_t n = params ? params->n : 0;

    msgpack_pack_array(pk, 4);
    msgpack_pack_int(pk, MESSAGE_REQUEST);
    msgpack_pack_uint32(pk, request->id);
    pack_text(pk, method);
    msgpack_pack_map(pk, n + (window > 0));
    if (window > 0)
        pack_kv_uint(pk, "window", window);
    if (n > 0)
        write_out(&writer, params->pairs.data, params->pairs.size);
    return frame_end(&writer);
}

bool send_cancel(struct request *request) {
    struct frame_writer writer;

    notify(&writer, request, "stream.cancel", 1);
    return frame_end(&writer);
}

bool send_credit(struct request *request, uint64_t bytes) {
    struct frame_writer writer;
    msgpack_packer *pk = notify(&writer, request, "stream.credit", 2);

    pack_kv_uint(pk, "bytes", bytes);
    return frame_end(&writer);
}

bool send_end(struct request *request) {
    struct frame_writer writer;

    notify(&writer, request, "stream.end", 1);
    return frame_end(&writer);
}

/*
 * The source fills the frame in place: room for the data is reserved behind a bin32 head, whose
 * length is written once the source has said how much it gave. So a byte of an upload is copied
 * once, by read(2).
 */
int send_piece(struct request *request) {
    const struct guestproto_stream *stream = request->stream;
    struct buffer *out = &request->client->wire.out;
    struct up *up = &request->up;
    struct frame_writer writer;
    msgpack_packer *pk;
    size_t room = PIECE_BYTES;
    ssize_t n;

    if (room > up->credit && up->credit > 0)
        room = up->credit;
    if (room > request->client->max_request - PIECE_HEAD)
        room = request->client->max_request - PIECE_HEAD;
    if (!buffer_room(out, PIECE_HEAD + room))
        return -ENOMEM;
    pk = notify(&writer, request, "stream.data", 2);
    pack_text(pk, "data");
    write_out(&writer, "\xc6\0\0\0\0", 5);
    n = up_fill(request, out->data + out->end, room);
    if (n <= 0) {
        out->end = out->start + writer.at;
        if (n == 0) {
            up->open = false;
            return send_end(request) ? 0 : -ENOMEM;
        }
        return n == -EAGAIN ? 0 : (int)n;
    }
    frame_header(out->data + out->end - 4, (uint32_t)n);
    out->end += (size_t)n;
    frame_end(&writer);
    up->credit -= (uint64_t)n;
    if (stream->sent)
        stream->sent(stream->context, up->at);
    return 0;
}

static msgpack_packer *request_of_process(struct frame_writer *writer, struct request *request,
                                          uint32_t id, const char *method, unsigned pairs) {
    msgpack_packer *pk = frame_begin(writer, &request->client->wire.out);

    msgpack_pack_array(pk, 4);
    msgpack_pack_int(pk, MESSAGE_REQUEST);
    msgpack_pack_uint32(pk, id);
    pack_text(pk, method);
    msgpack_pack_map(pk, pairs);
    pack_kv_int(pk, "pid", request->pid);
    return pk;
}

bool send_resize(struct request *request, uint32_t id, uint32_t size) {
    struct frame_writer writer;
    msgpack_packer *pk = request_of_process(&writer, request, id, "process.resize", 3);

    pack_kv_uint(pk, "rows", size >> 16);
    pack_kv_uint(pk, "cols", size & 0xffff);
    return frame_end(&writer);
}

bool send_input(struct request *request, uint32_t id, uint64_t off, const void *data, size_t len) {
    bool told = off != UINT64_MAX;
    struct frame_writer writer;
    msgpack_packer *pk = request_of_process(&writer, request, id, "process.input", told ? 3 : 2);

    if (told)
        pack_kv_uint(pk, "off", off);
    pack_text(pk, "data");
    pack_bytes(pk, data, len);
    return frame_end(&writer);
}
