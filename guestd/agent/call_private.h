/* What connection and dispatch know of a call; operations see call.h only. */
#pragma once

#include "agent/call.h"

struct conn;
struct out;

struct call {
    uint32_t refs;
    struct conn *conn;        /* counted */
    struct call *prev, *next; /* in conn->calls, until answered or lost; not counted */
    uint32_t msgid;
    const struct op *op;
    struct arena arena;
    size_t held; /* bytes of a large request, charged to connection and agent until the call goes */
    struct out *out; /* the answer or event being packed */
    bool answered;
    bool swallow;  /* cancelled or lost: nothing reaches the client any more */
    bool streamed; /* it has sent events or data: its answer stays behind them */
    call_cancel_fn *on_cancel;
    void *on_cancel_arg;
    struct work *works; /* started and not done, by work->next_of_call */
    struct {            /* an answer that is packed when it is its turn */
        call_reply_fn *reply, *drop;
        void *arg;
        size_t about;
        struct call *next; /* in conn->later */
    } later;
    struct sender *sender;
    uint64_t credit; /* bytes the client still takes */
    struct receiver *receiver;
    uint64_t granted; /* bytes the client may still send */
    bool ended;       /* the client's stream.end came */
};

/* In flight on `conn`, with one reference for the caller. NULL without memory. */
struct call *call_new(struct conn *conn, uint32_t msgid);

/* Charges a request of `len` bytes for as long as the call lives. False: large requests in flight
 * hold more than queue_connection on this connection, or queue_total on all. */
bool call_hold_body(struct call *call, size_t len);

/* The one in flight with that id, or NULL. */
struct call *call_find(struct conn *conn, uint32_t msgid);

/* The client cancelled it. */
void call_cancel(struct call *call);
/* Its connection is gone. */
void call_lost(struct call *call);

/* Answers it now, unless it is; nothing of it reaches the client any more. */
void call_give_up(struct call *call, enum status code, const char *message);

/* Packs the answer that waits in conn->later first. */
void call_later_run(struct call *call);

struct sender *call_sender(struct call *call);

/* stream.credit came: false when the sum is out of range. */
bool call_take_credit(struct call *call, uint64_t bytes);
/* stream.data came: false when it is more than was granted. */
bool call_take_data(struct call *call, struct slice data, struct buffer *owner);
void call_take_end(struct call *call);
void call_receiver_stop(struct call *call);

/* work.c */
void work_cancel_all(struct call *call);
/* Ends those that were cancelled before a thread took them: what a client cancels must not pile up
 * behind threads that hang. */
void work_drop_waiting(struct call *call);
