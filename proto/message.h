/*
 * One frame's body as a MessagePack-RPC message (PROTOCOL.md, "Frames"), decoded by msgpack-c after
 * its lengths, nesting and object count were held against the bytes that are really there:
 * msgpack-c allocates from the header's word.
 *
 * A decoded message borrows from the body: keep the body until message_deinit. Inside of params,
 * error and result msgpack-c points an empty str or bin to NULL.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>

#include "proto/frame.h"

enum message_kind {
    MESSAGE_REQUEST = 0,
    MESSAGE_RESPONSE = 1,
    MESSAGE_NOTIFICATION = 2,
};

/*
 * What message_decode found wrong. All but METHOD and PARAMS end the connection; those two are of a
 * request whose kind and msgid are set (with PARAMS the method too): it is answered
 * invalid_request.
 */
enum message_error {
    MESSAGE_TRUNCATED = 1, /* lengths that lie, trailing bytes, the byte 0xc1, an extension type */
    MESSAGE_NESTED,        /* over the nesting limit */
    MESSAGE_OBJECTS,       /* over MAX_OBJECTS */
    MESSAGE_SHAPE,         /* no array of a known shape; msgid no u32; error and result not one map
                              and one nil; a notification without text method and map params */
    MESSAGE_METHOD,        /* a request whose method is no UTF-8 str */
    MESSAGE_PARAMS,        /* a request whose params is no map */
};

struct message {
    enum message_kind kind;
    uint32_t msgid;        /* request, response */
    struct slice method;   /* request, notification */
    msgpack_object params; /* request, notification: a map */
    msgpack_object error;  /* response: a map or nil, */
    msgpack_object result; /* and the other one */
    msgpack_zone zone;
};

/* Walks a body without allocating: one whole object, no bytes after it, at most nesting_max levels
 * (the outermost array is level 1; 32 is the most, whatever nesting_max says) and MAX_OBJECTS
 * objects, each array, map, key and value being one. Returns 0 or a positive enum message_error. */
int message_check(struct slice body, unsigned nesting_max);

/* Returns 0, a positive enum message_error, or -ENOMEM. message_deinit must follow a 0, METHOD and
 * PARAMS only. */
int message_decode(struct slice body, unsigned nesting_max, struct message *ret);

/* Takes a decoded message; leaves it empty, so that a second call does nothing. */
void message_deinit(struct message *message);

/* True for a text that is valid UTF-8 (RFC 3629: no surrogates, no overlong forms). */
bool utf8_valid(const void *data, size_t len);

/* Length of the longest prefix that does not end inside a UTF-8 sequence (at most 3 bytes are cut).
 */
size_t utf8_trim(const void *data, size_t len);

/* Packing helpers over msgpack-c: a map key or short text; text that is `str` when UTF-8 and `bin`
 * otherwise; bytes. */
void pack_text(msgpack_packer *pk, const char *text);
void pack_name(msgpack_packer *pk, const char *name);
void pack_name_len(msgpack_packer *pk, const void *name, size_t len);
void pack_bytes(msgpack_packer *pk, const void *data, size_t len);
/* key + value pairs */
void pack_kv_text(msgpack_packer *pk, const char *key, const char *value_or_null);
void pack_kv_name(msgpack_packer *pk, const char *key, const char *value_or_null);
void pack_kv_int(msgpack_packer *pk, const char *key, int64_t value);
void pack_kv_uint(msgpack_packer *pk, const char *key, uint64_t value);
void pack_kv_bool(msgpack_packer *pk, const char *key, bool value);
void pack_kv_double(msgpack_packer *pk, const char *key, double value);
void pack_kv_nil(msgpack_packer *pk, const char *key);
