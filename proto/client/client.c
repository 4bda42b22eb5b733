/* A client's life: made, connected, greeted, freed. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proto/address.h"
#include "proto/client/request.h"
#include "proto/limits.h"

#define CONNECT_TIMEOUT_MS 10000
#define RESUME_MS 10000
/* A guest that claims to take less is not believed: no request would fit. */
#define MIN_FRAME 4096
#define TERMINAL_MAX 4096

/* What a guest takes before hello has told better: the table's defaults are PROTOCOL.md's. */
enum {
#define X(name, value, help) default_##name = (value),
    LIMITS(X)
#undef X
};

struct kept *kept_new(struct slice body) {
    struct kept *kept = malloc(sizeof(*kept) + body.len);

    if (!kept)
        return NULL;
    memcpy(kept->body, body.data, body.len);
    body.data = kept->body;
    if (message_decode(body, default_nesting, &kept->message) != 0) {
        free(kept);
        return NULL;
    }
    return kept;
}

struct kept *kept_free(struct kept *kept) {
    if (kept)
        message_deinit(&kept->message);
    free(kept);
    return NULL;
}

void guestproto_reply_free(struct guestproto_reply *reply) {
    kept_free(reply->owner);
    *reply = (struct guestproto_reply){.result = {.type = MSGPACK_OBJECT_NIL}};
}

struct guestproto *guestproto_new(const struct guestproto_options *options) {
    struct guestproto *client = calloc(1, sizeof(*client));

    if (!client)
        return NULL;
    if (options)
        client->options = *options;
    if (!client->options.client)
        client->options.client = "guestproto/" GUESTD_VERSION;
    if (client->options.max_frame == 0)
        client->options.max_frame = DEFAULT_CLIENT_FRAME;
    if (client->options.connect_timeout_ms == 0)
        client->options.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (client->options.resume_ms == 0)
        client->options.resume_ms = RESUME_MS;
    wire_init(&client->wire, client->options.max_frame);
    client->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->wake_fd < 0) {
        free(client);
        return NULL;
    }
    return client;
}

struct guestproto *guestproto_free(struct guestproto *client) {
    if (!client)
        return NULL;
    wire_close(&client->wire);
    guestproto_reply_free(&client->hello);
    kept_free(client->error_owner);
    close(client->wake_fd);
    free(client->address);
    free(client);
    return NULL;
}

static void wake(struct guestproto *client) {
    int saved = errno;
    uint64_t one = 1;

    /* A full counter fails, and then it rings already. */
    if (write(client->wake_fd, &one, sizeof(one)) < 0)
        errno = saved;
}

void guestproto_cancel(struct guestproto *client) {
    atomic_store(&client->cancel, true);
    wake(client);
}

void guestproto_set_size(struct guestproto *client, unsigned rows, unsigned cols) {
    if (rows == 0 || cols == 0 || rows > TERMINAL_MAX || cols > TERMINAL_MAX)
        return;
    atomic_store(&client->size, rows << 16 | cols);
    wake(client);
}

const msgpack_object *guestproto_hello(const struct guestproto *client) {
    return client->hello.owner ? &client->hello.result : NULL;
}

/* The guest's word, but only within what this side can bear. */
static uint64_t told_limit(struct guestproto *client, const char *name, uint64_t otherwise,
                           uint64_t min) {
    uint64_t value;

    if (!guestproto_get_uint(guestproto_get(&client->hello.result, "limits"), name, &value))
        return otherwise;
    if (value < min)
        return min;
    return value < UINT32_MAX ? value : UINT32_MAX;
}

static int say_hello(struct guestproto *client, int timeout_ms) {
    struct guestproto_params *params = guestproto_params_new();
    struct ask ask = {.method = "hello", .params = params, .deaf = true};
    int others_ms = client->options.timeout_ms;
    int r;

    if (!params)
        return error_fatal(client, ENOMEM, "no memory");
    guestproto_put_int(params, "protocol", PROTOCOL_VERSION);
    guestproto_put_text(params, "client", client->options.client);
    if (client->options.token) {
        msgpack_packer *pk = guestproto_put(params, "token");
        pack_name_len(pk, client->options.token, client->options.token_len);
    }
    guestproto_put_int(params, "max_frame", client->options.max_frame);
    client->options.timeout_ms = timeout_ms;
    r = request_run(client, &ask, &client->hello);
    client->options.timeout_ms = others_ms;
    guestproto_params_free(params);
    if (r != 0) {
        wire_close(&client->wire);
        return r;
    }
    client->stream_credit = told_limit(client, "stream_credit", default_stream_credit, 0);
    client->stdin_buffer = told_limit(client, "stdin_buffer", default_stdin_buffer, 1);
    client->max_request = told_limit(client, "max_frame", default_max_frame, MIN_FRAME);
    return 0;
}

int client_connect(struct guestproto *client, int timeout_ms) {
    struct address address;
    int fd;

    wire_close(&client->wire);
    guestproto_reply_free(&client->hello);
    client->stream_credit = default_stream_credit;
    client->stdin_buffer = default_stdin_buffer;
    client->max_request = default_max_frame;
    if (address_parse(client->address, &address) < 0)
        return error_set(client, EINVAL, "no address: \"%s\"", client->address);
    fd = address_connect(&address, timeout_ms);
    if (fd < 0)
        return error_set(client, -fd, "can't connect to %s: %s", client->address, strerror(-fd));
    wire_open(&client->wire, fd);
    return client->options.skip_hello ? 0 : say_hello(client, timeout_ms);
}

int guestproto_connect(struct guestproto *client, const char *address) {
    char *copy = strdup(address);

    if (!copy)
        return error_set(client, ENOMEM, "no memory");
    free(client->address);
    client->address = copy;
    return client_connect(client, client->options.connect_timeout_ms);
}
