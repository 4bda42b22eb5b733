/* A program's life as a stream tells it, turned into the callbacks of struct guestproto_exec. */
#pragma once

#include "proto/client/request.h"

struct watch {
    const struct guestproto_exec *exec;
    bool from_zero; /* each channel begins at 0: a program that just began */
    bool begun[GUESTPROTO_PTY + 1];
};

/* The stream of such a watch, which must live as long. */
struct guestproto_stream watch_stream(struct watch *watch);

/* A channel's name; NULL: none of ours. */
const char *watch_channel(size_t channel);
