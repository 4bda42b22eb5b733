/*
 * One request from its frame to its answer: what it may still receive and send, and what it takes
 * to ask again on another connection. Lives on the stack of request_run.
 */
#pragma once

#include "proto/client/client.h"

/* A guest may make up channel names; more than this many are not told apart, and are ignored. */
#define CHANNELS_MAX 8
/* What `where` of a resumption may be as text. */
#define WHERE_SIZE 128
#define TAG_SIZE 129

struct channel {
    char name[16];
    uint64_t off; /* where the next byte for the caller is */
    uint64_t at;  /* where the next byte of this connection is: behind off, while a repeat comes */
    bool placed;  /* this connection has said something of it */
    bool ended;   /* the caller knows its end */
};

enum up_kind {
    UP_NONE,
    UP_UPLOAD, /* stream.data, again from the start after a lost connection */
    UP_STDIN,  /* stream.data, again from what `started` tells was taken */
    UP_INPUT,  /* process.input beside the stream, again by its off */
};

/* What goes up; up.c. Offsets count from the first byte that the source gave. */
struct up {
    enum up_kind kind;
    bool open;       /* the end was not sent on this connection */
    bool over;       /* the source gave its end */
    bool held;       /* waits for `started` */
    bool ready;      /* the source can be read */
    uint64_t credit; /* bytes the guest still has room for */
    uint64_t sure;   /* bytes that the guest will not ask for again */
    uint64_t base;   /* UP_STDIN: where in the program's stdin the first byte is, once `based` */
    bool based;
    uint64_t at;        /* the next byte to send, of those … */
    uint64_t read;      /* … that the source gave */
    struct buffer kept; /* the last of them, down to sure */
};

/* The requests that go beside a stream, one of each at a time; side.c. 0: none is in flight. */
struct side {
    uint32_t size_id, input_id;
    uint32_t size, size_sent; /* rows << 16 | columns; 0: none */
    uint64_t input_off;       /* of the program's stdin, where up.sure is */
    bool input_repeats;       /* the piece was sent before, perhaps taken */
    int64_t input_due_ms;     /* not before */
};

struct request {
    struct guestproto *client;
    const struct ask *ask;
    const struct guestproto_stream *stream; /* never NULL */
    uint32_t id;
    bool plain; /* no stream: the deadline is the whole call's */
    int64_t began_ms;
    int64_t deadline_ms; /* INT64_MAX: none */

    /* down */
    struct channel channels[CHANNELS_MAX];
    size_t n_channels;
    uint64_t window;
    uint64_t allowed;  /* bytes the guest may still send */
    uint64_t consumed; /* bytes taken and not yet credited */
    bool heard;        /* something of it came on this connection */

    /* who it is about, once `started` told */
    int64_t pid;
    char tag[TAG_SIZE];

    struct up up;
    struct side side;

    unsigned attempt; /* 0: the first */
    int failed;       /* the value of the callback that failed: its words are heard no more */
    bool cancelling;  /* asked for, by whomever: every connection is told */
    bool cancel_sent;
    struct kept *answer;
};

/*
 * How a request is asked again. `prepare`, which may be NULL, is called before each attempt, the
 * first too. It may set *ret_params to what is sent instead of the caller's (freed by who called),
 * and tells in `where` what a resumed one goes on from. 0, or a negative errno that is already set.
 * It may call the guest, with request_run and no `again`.
 */
struct again {
    int (*prepare)(struct request *request, struct guestproto_params **ret_params, char *where);
    bool persists; /* a cancel must reach the guest, also when the connection is lost meanwhile */
};

struct ask {
    const char *method;
    const struct guestproto_params *params;
    const struct guestproto_stream *stream; /* NULL: one request, one answer */
    const struct again *again;              /* NULL: a lost connection is the end */
    void *context;                          /* prepare's */
    uint64_t input_off;                     /* UP_INPUT: taken so far */
    enum up_kind up;
    bool mute; /* no `started` will come: it is captured */
    bool deaf; /* a cancel is for the request after it: hello */
};

/* request.c: the whole life. As guestproto_call_stream. */
int request_run(struct guestproto *client, const struct ask *ask,
                struct guestproto_reply *ret_reply);

/* serve.c: until the answer (0: request->answer), or a fatal error that is already set. */
int request_serve(struct request *request);

/* receive.c: takes a notification of this request. 0, or a fatal error that is already set. */
int request_notified(struct request *request, const struct message *message);
/* The guest broke the protocol: fatal. */
int request_breach(struct request *request, const char *what);

/* resume.c: connects again after a lost connection, for a bounded time. 0, or what
 * guestproto_error tells. `fruitless`: how many connections in a row were of no use. */
int resume_connect(struct request *request, unsigned fruitless);
/* Whether this client could. */
bool resume_possible(const struct guestproto *client);

/* send.c: each queues one frame, or nothing when memory is short: false. */
bool send_request(struct request *request, const char *method,
                  const struct guestproto_params *params);
bool send_cancel(struct request *request);
bool send_credit(struct request *request, uint64_t bytes);
bool send_end(struct request *request);
/* The next piece of the source. 0; or the negative errno that the source gave; -ENOMEM. */
int send_piece(struct request *request);
/* process.resize and process.input, of request->pid, as requests of their own id. `data` may be
 * NULL where len is 0; off: UINT64_MAX leaves it out. */
bool send_resize(struct request *request, uint32_t id, uint32_t size);
bool send_input(struct request *request, uint32_t id, uint64_t off, const void *data, size_t len);

/* up.c */
void up_begin(struct request *request); /* on each connection, before anything is sent */
/* Something is to be sent and may be; the source's readiness aside. */
bool up_wants(const struct request *request);
/* The next byte comes from the source, not from what is kept of it. */
bool up_needs_source(const struct request *request);
/* Up to `room` bytes: what is to be sent again, else the source's. As guestproto_stream.source. */
ssize_t up_fill(struct request *request, void *buf, size_t room);
void up_credited(struct request *request, uint64_t bytes);
/* Below `off` nothing is sent again. */
void up_forget(struct up *up, uint64_t off);
/* `started` came, which tells of a program's stdin. 0 or fatal. */
int up_started(struct request *request, const msgpack_object *params);

/* side.c */
void side_begin(struct request *request); /* on each connection */
/* Queues what is due. 0, -ENOMEM, or the source's negative errno. */
int side_queue(struct request *request);
/* The answer of one of its requests? 1; 0: of none; or fatal. */
int side_answered(struct request *request, const struct message *message);
