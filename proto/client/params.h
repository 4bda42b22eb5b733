/* The inside of struct guestproto_params, for the call that sends it. */
#pragma once

#include "proto/client/guestproto.h"

struct guestproto_params {
    msgpack_sbuffer pairs; /* n times key and value, without the map's header */
    msgpack_packer packer;
    uint32_t n;
    bool failed;   /* no memory, some time ago */
    bool streamed; /* `stream` was put */
};

/* ---- rewrite.c ---- */

/* A copy without the pairs of these keys (NULL-terminated; NULL: none). params may be NULL. NULL:
 * no memory. */
struct guestproto_params *params_copy(const struct guestproto_params *params,
                                      const char *const *without);
/* The value of a key that is not nil, which borrows from params; to be destroyed either way. */
bool params_find(const struct guestproto_params *params, const char *key, msgpack_unpacked *ret);
bool params_has(const struct guestproto_params *params, const char *key);
bool params_number(const struct guestproto_params *params, const char *key, double *ret);
uint64_t params_uint(const struct guestproto_params *params, const char *key, uint64_t otherwise);
bool params_true(const struct guestproto_params *params, const char *key);

/* ---- params.c ---- */

/* Puts `stream: true`, once: the same params may be sent again. */
void params_put_stream(struct guestproto_params *params);
