/* Failures of a client: the guest's typed ones and this side's errno, told in one struct. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/client/client.h"
#include "proto/status.h"

/* The public numbers are the inner ones, so that no table has to keep them in step. */
_Static_assert((int)GUESTPROTO_INVALID_REQUEST == STATUS_INVALID_REQUEST, "codes in step");
_Static_assert((int)GUESTPROTO_CANCELLED == STATUS_CANCELLED, "codes in step");
_Static_assert((int)GUESTPROTO_INTERNAL == STATUS_INTERNAL, "codes in step");
_Static_assert((int)GUESTPROTO_NO_SPACE == STATUS_NO_SPACE, "codes in step");
_Static_assert(GUESTPROTO_NO_SPACE + 1 == STATUS_MAX_, "codes in step");

const char *guestproto_code_name(int code) {
    if (code <= STATUS_OK || code >= STATUS_MAX_)
        code = STATUS_INTERNAL;
    return status_name((enum status)code);
}

static void forget(struct guestproto *client) {
    client->error_owner = kept_free(client->error_owner);
    client->error = (struct guestproto_error){.data = {.type = MSGPACK_OBJECT_NIL}};
}

static int set(struct guestproto *client, int err, const char *fmt, va_list args) {
    forget(client);
    client->error.err = err;
    vsnprintf(client->error.message, sizeof(client->error.message), fmt, args);
    return -err;
}

int error_set(struct guestproto *client, int err, const char *fmt, ...) {
    va_list args;
    int r;

    va_start(args, fmt);
    r = set(client, err, fmt, args);
    va_end(args);
    return r;
}

int error_fatal(struct guestproto *client, int err, const char *fmt, ...) {
    va_list args;
    int r;

    va_start(args, fmt);
    r = set(client, err, fmt, args);
    va_end(args);
    wire_close(&client->wire);
    return r;
}

/* Cut to size, never inside a character. */
static void copy_text(char *out, size_t size, const msgpack_object *map, const char *key) {
    struct guestproto_bytes text;
    size_t len;

    out[0] = '\0';
    if (!guestproto_get_bytes(map, key, &text))
        return;
    len = strnlen(text.data, text.len);
    if (len >= size)
        len = utf8_trim(text.data, size - 1);
    memcpy(out, text.data, len);
    out[len] = '\0';
}

int error_from_guest(struct guestproto *client, const msgpack_object *error, struct kept *kept) {
    struct guestproto_error *out = &client->error;
    const msgpack_object *data = guestproto_get(error, "data");
    char code[64];
    int64_t err;

    forget(client);
    copy_text(code, sizeof(code), error, "code");
    copy_text(out->message, sizeof(out->message), error, "message");
    copy_text(out->field, sizeof(out->field), error, "field");
    out->code = status_from_name(code);
    if (out->code == STATUS_OK)
        out->code = STATUS_INTERNAL;
    if (guestproto_get_int(error, "errno", &err) && err > 0 && err < 4096)
        out->err = (int)err;
    if (out->message[0] == '\0')
        snprintf(out->message, sizeof(out->message), "the guest gave no reason");
    client->error_owner = kept;
    if (kept && data)
        out->data = *data;
    return out->code;
}

const struct guestproto_error *guestproto_error(const struct guestproto *client) {
    return &client->error;
}
