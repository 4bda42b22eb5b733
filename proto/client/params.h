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

/* Puts `stream: true`, once: the same params may be sent again. */
void params_put_stream(struct guestproto_params *params);
