/*
 * A guest made of a thread and a socket pair: it plays its part while the test calls the client.
 * What it finds wrong ends the program at once: cmocka's asserts are for the test's own thread.
 */
#pragma once

#include <msgpack.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "proto/client/guestproto.h"
#include "proto/message.h"

#define CHECK(condition)                                                                     \
    do {                                                                                     \
        if (!(condition)) {                                                                  \
            fprintf(stderr, "%s:%d: the guest wanted %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                         \
        }                                                                                    \
    } while (0)

struct guest {
    int fd;
    int listener;  /* -1: the client can't come back */
    char path[64]; /* the listener's */
    pthread_t thread;
    void (*play)(struct guest *guest);
    void *context;          /* the test's */
    uint8_t *body;          /* the last frame's */
    struct message message; /* the last frame */
    msgpack_sbuffer buffer;
    msgpack_packer packer; /* of the frame being made */
};

/* Starts the part and a client that is connected to it; no hello unless the options say so. */
struct guestproto *guest_start(struct guest *guest, void (*play)(struct guest *),
                               const struct guestproto_options *options);
/* The same over a socket that the client can connect to again: the part begins with
 * guest_accept. */
struct guestproto *guest_start_lasting(struct guest *guest, void (*play)(struct guest *),
                                       const struct guestproto_options *options);
/* Loses the connection, if there is one, and takes the next. */
void guest_accept(struct guest *guest);
void guest_drop(struct guest *guest);
/* The part's end is waited for; the client is freed. */
void guest_stop(struct guest *guest, struct guestproto *client);

/* Reads the next frame into guest->message. False at the end of the connection. */
bool guest_read(struct guest *guest);
/* Reads a request of that method. */
void guest_request(struct guest *guest, const char *method);
/* Reads a notification of that method and of stream id. */
void guest_notification(struct guest *guest, const char *method, uint32_t id);

/* Begins a frame: the packer takes its elements after the array's head and kind. */
msgpack_packer *guest_begin(struct guest *guest, unsigned elements, int kind);
void guest_send(struct guest *guest);
void guest_send_raw(struct guest *guest, const void *data, size_t len);

/* Whole frames. */
void guest_answer_empty(struct guest *guest, uint32_t id);
void guest_answer_uint(struct guest *guest, uint32_t id, const char *key, uint64_t value);
/* An error with a code and a field ("": none). */
void guest_refuse(struct guest *guest, uint32_t id, const char *code, const char *field);
/* `started` of a program with pid 42 and that tag; stdin_off UINT64_MAX: its stdin isn't open. */
void guest_started(struct guest *guest, uint32_t id, const char *tag, uint64_t stdin_off);
void guest_answer_hello(struct guest *guest, uint64_t stream_credit, uint64_t max_frame);
void guest_data(struct guest *guest, uint32_t id, const char *channel, uint64_t off,
                const void *data, size_t len);
void guest_credit(struct guest *guest, uint32_t id, uint64_t bytes);
/* stream.end or stream.gap, with one or two numbers. */
void guest_end(struct guest *guest, uint32_t id, const char *channel, uint64_t off);
void guest_gap(struct guest *guest, uint32_t id, const char *channel, uint64_t from, uint64_t to);
