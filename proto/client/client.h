/* The client's inside, shared by client.c (its life), request.c (one request) and error.c (its
 * failures). */
#pragma once

#include <stdatomic.h>

#include "proto/client/guestproto.h"
#include "proto/client/wire.h"
#include "proto/message.h"

/* A message that outlives the buffer it came in. */
struct kept {
    struct message message;
    uint8_t body[];
};

struct kept *kept_new(struct slice body); /* a body that message_decode takes; NULL: no memory */
struct kept *kept_free(struct kept *kept);

struct guestproto {
    struct guestproto_options options;
    struct wire wire;
    int wake_fd;        /* an eventfd: ends a wait when cancel was asked */
    atomic_bool cancel; /* asked, and not yet passed on to the guest */
    uint32_t next_id;
    _Atomic uint32_t size;  /* of a terminal, not yet passed on: rows << 16 | columns; 0: none */
    char *address;          /* of the last guestproto_connect; NULL: none to go back to */
    bool lost;              /* the last failure was the connection's own */
    uint64_t stream_credit; /* bytes that a new upload starts with */
    size_t stdin_buffer;    /* bytes of input that the guest holds for one program */
    size_t max_request;     /* largest body the guest takes */
    struct guestproto_reply hello;
    struct guestproto_error error;
    struct kept *error_owner; /* behind error.data */
};

/* guestproto_connect to client->address, within timeout_ms (≤ 0: none) for connecting and for hello
 * each. */
int client_connect(struct guestproto *client, int timeout_ms);

/* Each sets guestproto_error and returns what the caller returns. */

/* This side's failure, or the connection's: -err. */
int error_set(struct guestproto *client, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, and there is no connection any more. */
int error_fatal(struct guestproto *client, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The guest's: an error map {code, message, …}. Takes kept, which holds it (NULL: only texts are
 * kept). */
int error_from_guest(struct guestproto *client, const msgpack_object *error, struct kept *kept);
