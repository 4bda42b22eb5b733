#include "fake_guest.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void *run(void *arg) {
    struct guest *guest = arg;

    guest->play(guest);
    if (guest->fd < 0)
        return NULL;
    /* Half: what the client still sends is taken, so that it never sees a reset where the part
     * ended in peace. */
    shutdown(guest->fd, SHUT_WR);
    while (guest_read(guest))
        ;
    return NULL;
}

static struct guestproto *begin(struct guest *guest, void (*play)(struct guest *),
                                const struct guestproto_options *options) {
    struct guestproto_options quiet = {.skip_hello = true};
    struct guestproto *client = guestproto_new(options ? options : &quiet);

    CHECK(client);
    guest->fd = guest->listener = -1;
    guest->play = play;
    guest->body = NULL;
    guest->message = (struct message){0};
    msgpack_sbuffer_init(&guest->buffer);
    msgpack_packer_init(&guest->packer, &guest->buffer, msgpack_sbuffer_write);
    return client;
}

struct guestproto *guest_start(struct guest *guest, void (*play)(struct guest *),
                               const struct guestproto_options *options) {
    struct guestproto *client = begin(guest, play, options);
    char address[16];
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    guest->fd = pair[1];
    CHECK(pthread_create(&guest->thread, NULL, run, guest) == 0);
    snprintf(address, sizeof(address), "fd:%d", pair[0]);
    guestproto_connect(client, address);
    return client;
}

struct guestproto *guest_start_lasting(struct guest *guest, void (*play)(struct guest *),
                                       const struct guestproto_options *options) {
    struct guestproto *client = begin(guest, play, options);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[128];

    snprintf(guest->path, sizeof(guest->path), "/tmp/fake-guest-%d-%p", (int)getpid(),
             (void *)guest);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", guest->path);
    unlink(guest->path);
    guest->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(guest->listener, (struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(listen(guest->listener, 8) == 0);
    CHECK(pthread_create(&guest->thread, NULL, run, guest) == 0);
    snprintf(text, sizeof(text), "unix:%s", guest->path);
    guestproto_connect(client, text);
    return client;
}

void guest_drop(struct guest *guest) {
    if (guest->fd >= 0)
        close(guest->fd);
    guest->fd = -1;
}

void guest_accept(struct guest *guest) {
    guest_drop(guest);
    guest->fd = accept(guest->listener, NULL, NULL);
    CHECK(guest->fd >= 0);
}

void guest_stop(struct guest *guest, struct guestproto *client) {
    guestproto_free(client);
    CHECK(pthread_join(guest->thread, NULL) == 0);
    guest_drop(guest);
    if (guest->listener >= 0) {
        close(guest->listener);
        unlink(guest->path);
    }
    message_deinit(&guest->message);
    free(guest->body);
    msgpack_sbuffer_destroy(&guest->buffer);
}

static bool read_all(int fd, void *data, size_t len) {
    size_t have = 0;

    while (have < len) {
        ssize_t n = recv(fd, (char *)data + have, len - have, 0);
        if (n <= 0)
            return false;
        have += (size_t)n;
    }
    return true;
}

bool guest_read(struct guest *guest) {
    uint8_t header[FRAME_HEADER];
    struct slice body;

    message_deinit(&guest->message);
    if (!read_all(guest->fd, header, sizeof(header)))
        return false;
    body.len =
        (size_t)header[0] << 24 | (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
    free(guest->body);
    guest->body = malloc(body.len + 1);
    CHECK(guest->body);
    body.data = guest->body;
    if (!read_all(guest->fd, guest->body, body.len))
        return false;
    CHECK(message_decode(body, 16, &guest->message) == 0);
    return true;
}

static bool is_method(const struct guest *guest, const char *method) {
    return guest->message.method.len == strlen(method) &&
           memcmp(guest->message.method.data, method, strlen(method)) == 0;
}

void guest_request(struct guest *guest, const char *method) {
    CHECK(guest_read(guest));
    CHECK(guest->message.kind == MESSAGE_REQUEST);
    CHECK(is_method(guest, method));
}

void guest_notification(struct guest *guest, const char *method, uint32_t id) {
    uint64_t value;

    CHECK(guest_read(guest));
    CHECK(guest->message.kind == MESSAGE_NOTIFICATION);
    CHECK(is_method(guest, method));
    CHECK(guestproto_get_uint(&guest->message.params, "id", &value) && value == id);
}

msgpack_packer *guest_begin(struct guest *guest, unsigned elements, int kind) {
    msgpack_sbuffer_clear(&guest->buffer);
    msgpack_sbuffer_write(&guest->buffer, "\0\0\0\0", FRAME_HEADER);
    msgpack_pack_array(&guest->packer, elements);
    msgpack_pack_int(&guest->packer, kind);
    return &guest->packer;
}

void guest_send(struct guest *guest) {
    frame_header((uint8_t *)guest->buffer.data, (uint32_t)(guest->buffer.size - FRAME_HEADER));
    guest_send_raw(guest, guest->buffer.data, guest->buffer.size);
}

void guest_send_raw(struct guest *guest, const void *data, size_t len) {
    const char *at = data;

    while (len > 0) {
        ssize_t n = send(guest->fd, at, len, MSG_NOSIGNAL);
        if (n < 0)
            return; /* the client has left: some tests mean it to */
        at += n;
        len -= (size_t)n;
    }
}

void guest_answer_empty(struct guest *guest, uint32_t id) {
    msgpack_packer *pk = guest_begin(guest, 4, MESSAGE_RESPONSE);

    msgpack_pack_uint32(pk, id);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 0);
    guest_send(guest);
}

void guest_answer_uint(struct guest *guest, uint32_t id, const char *key, uint64_t value) {
    msgpack_packer *pk = guest_begin(guest, 4, MESSAGE_RESPONSE);

    msgpack_pack_uint32(pk, id);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 1);
    pack_kv_uint(pk, key, value);
    guest_send(guest);
}

void guest_refuse(struct guest *guest, uint32_t id, const char *code, const char *field) {
    msgpack_packer *pk = guest_begin(guest, 4, MESSAGE_RESPONSE);

    msgpack_pack_uint32(pk, id);
    msgpack_pack_map(pk, 3);
    pack_kv_text(pk, "code", code);
    pack_kv_text(pk, "message", "no");
    pack_kv_text(pk, "field", field);
    msgpack_pack_nil(pk);
    guest_send(guest);
}

void guest_answer_hello(struct guest *guest, uint64_t stream_credit, uint64_t max_frame) {
    msgpack_packer *pk;

    guest_request(guest, "hello");
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 2);
    pack_kv_int(pk, "protocol", 1);
    pack_text(pk, "limits");
    msgpack_pack_map(pk, 2);
    pack_kv_uint(pk, "stream_credit", stream_credit);
    pack_kv_uint(pk, "max_frame", max_frame);
    guest_send(guest);
}

static msgpack_packer *begin_notification(struct guest *guest, const char *method, uint32_t id,
                                          unsigned pairs) {
    msgpack_packer *pk = guest_begin(guest, 3, MESSAGE_NOTIFICATION);

    pack_text(pk, method);
    msgpack_pack_map(pk, pairs);
    pack_kv_uint(pk, "id", id);
    return pk;
}

void guest_data(struct guest *guest, uint32_t id, const char *channel, uint64_t off,
                const void *data, size_t len) {
    msgpack_packer *pk = begin_notification(guest, "stream.data", id, 4);

    pack_kv_text(pk, "ch", channel);
    pack_kv_uint(pk, "off", off);
    pack_text(pk, "data");
    pack_bytes(pk, data, len);
    guest_send(guest);
}

void guest_started(struct guest *guest, uint32_t id, const char *tag, uint64_t stdin_off) {
    bool open = stdin_off != UINT64_MAX;
    msgpack_packer *pk = begin_notification(guest, "stream.event", id, open ? 5 : 4);

    pack_kv_text(pk, "event", "started");
    pack_kv_int(pk, "pid", 42);
    pack_kv_text(pk, "tag", tag);
    if (open)
        pack_kv_uint(pk, "stdin", stdin_off);
    guest_send(guest);
}

void guest_credit(struct guest *guest, uint32_t id, uint64_t bytes) {
    pack_kv_uint(begin_notification(guest, "stream.credit", id, 2), "bytes", bytes);
    guest_send(guest);
}

void guest_end(struct guest *guest, uint32_t id, const char *channel, uint64_t off) {
    msgpack_packer *pk = begin_notification(guest, "stream.end", id, 3);

    pack_kv_text(pk, "ch", channel);
    pack_kv_uint(pk, "off", off);
    guest_send(guest);
}

void guest_gap(struct guest *guest, uint32_t id, const char *channel, uint64_t from, uint64_t to) {
    msgpack_packer *pk = begin_notification(guest, "stream.gap", id, 4);

    pack_kv_text(pk, "ch", channel);
    pack_kv_uint(pk, "from", from);
    pack_kv_uint(pk, "to", to);
    guest_send(guest);
}
