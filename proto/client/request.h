/*
 * One request in flight: what it may still receive and send, and how its frames are written. Lives
 * on the stack of guestproto_call_stream.
 */
#pragma once

#include "proto/client/client.h"

/* A guest may make up channel names; more than this many are not told apart, and are ignored. */
#define CHANNELS_MAX 8

struct channel {
    char name[16];
    uint64_t off; /* where its next byte is expected */
};

struct request {
    struct guestproto *client;
    const struct guestproto_stream *stream; /* never NULL */
    uint32_t id;
    bool plain; /* no stream: the deadline is the whole call's */

    /* down */
    struct channel channels[CHANNELS_MAX];
    size_t n_channels;
    uint64_t window;
    uint64_t allowed;  /* bytes the guest may still send */
    uint64_t consumed; /* bytes taken and not yet credited */

    /* up */
    uint64_t credit; /* bytes the guest still has room for */
    uint64_t sent;
    bool source_open;
    bool source_ready;

    int failed; /* the value of the callback that failed: its words are heard no more */
    bool cancel_sent;
    struct kept *answer;
};

/* receive.c: takes a notification of this request. 0, or a fatal error that is already set. */
int request_notified(struct request *request, const struct message *message);

/* send.c: each queues one frame, or nothing when memory is short: false. */
bool send_request(struct request *request, const char *method,
                  const struct guestproto_params *params);
bool send_cancel(struct request *request);
bool send_credit(struct request *request, uint64_t bytes);
bool send_end(struct request *request);
/* The next piece of the source. 0; or the negative errno that the source gave; -ENOMEM. */
int send_piece(struct request *request);
