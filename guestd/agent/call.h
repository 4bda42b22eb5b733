/*
 * A call: one request in flight, and the only way to answer it. Operations see this and never a
 * connection.
 *
 * Exactly one answer: call_reply_end or call_fail*. A second one asserts. The last reference lost
 * without an answer fails the call as `internal` and logs it. A call whose connection is gone, or
 * that was cancelled, swallows what is sent to it: an operation need not ask before it answers.
 *
 * Everything here runs on the loop's thread, except what call_work_start's `run` does.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <uv.h>

#include "ops/op.h"
#include "proto/fields.h"
#include "proto/frame.h"

struct call;

struct call *call_ref(struct call *call);
void call_unref(struct call *call);

/* Lives as long as the call: params are in it. */
struct arena *call_arena(struct call *call);
uv_loop_t *call_loop(struct call *call);
const struct op *call_op(struct call *call);

/* The largest frame body this call's client takes (its hello's max_frame). */
uint64_t call_client_frame(struct call *call);
/* Text naming the client for the log: "vsock:2#7". */
const char *call_peer(struct call *call);

/* ── the answer ── */

/* Begins a result of `pairs` map entries: pack exactly that many keys and values into the returned
 * packer, then call_reply_end. The answer of a call that opened no stream goes ahead of queued
 * stream data; a stream's own stays behind its data. */
msgpack_packer *call_reply_begin(struct call *call, uint32_t pairs);
void call_reply_end(struct call *call);
/*
 * For a result that may be large (over 1 MiB): `reply` is called, once, when the answer is the next
 * to send and `about` bytes fit into queue_total, and answers by the functions above. What it reads
 * must stay until then. It isn't called for a call that is lost or cancelled meanwhile; `drop` (may
 * be NULL) is, instead.
 */
typedef void call_reply_fn(struct call *call, void *arg);
void call_reply_later(struct call *call, size_t about, call_reply_fn *reply, call_reply_fn *drop,
                      void *arg);
/* Whether more waits for the client than one connection may have: what can wait is answered by
 * call_reply_later then, however small. */
bool call_full(struct call *call);
/* The largest answer: what the client takes in a frame, and what may be queued at all. */
uint64_t call_answer_max(struct call *call);
/* An empty map. */
void call_reply_empty(struct call *call);

/* {code, message, errno?, field?}. Logs nothing. */
void call_fail(struct call *call, enum status code, int err, const char *field_or_null,
               const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void call_fail_with(struct call *call, const struct failure *failure);
/* The same with `data`: a MessagePack map of its own, already packed. */
void call_fail_data(struct call *call, const struct failure *failure, struct slice data);

bool call_answered(struct call *call);

/* ── cancellation ── */

enum cancel_reason {
    CANCEL_BY_CLIENT, /* stream.cancel */
    CANCEL_CONNECTION_LOST,
};
/*
 * Without a hook, a cancelled call is answered `cancelled` at once and its late answer is
 * swallowed. With one, the hook is told (once) and the operation answers itself; after
 * CANCEL_CONNECTION_LOST nothing can reach the client any more, and the operation ends what must
 * not go on. The hook must not be called after the answer, and isn't.
 */
typedef void call_cancel_fn(struct call *call, enum cancel_reason reason, void *arg);
void call_on_cancel(struct call *call, call_cancel_fn *hook, void *arg);

/* ── blocking work on the pool ── */

/*
 * At most 12 of the 16 pool threads run these; more wait their turn in order. `run` is on a pool
 * thread: it sees the work and what it owns, never the call, loop or wire. It may look at
 * `cancelled` in long loops. `done` is back on the loop, always called once, also after a cancel;
 * it answers the call. A call whose work makes no progress for stall_s is answered `timeout`, and
 * its operation told as if the connection were lost.
 */
struct work {
    uv_work_t request;
    struct call *call;
    int (*run)(struct work *work);
    void (*done)(struct work *work,
                 int result); /* result: what run returned, or -ECANCELED if it never ran */
    _Atomic bool cancelled;   /* set when the call is cancelled */
    int result;
    bool always;             /* private, like all below */
    struct work *next, **at; /* waiting for a thread, or on one; at is NULL there */
    struct work *next_of_call;
    _Atomic bool has_clock; /* the thread's processor time, to see whether it hangs */
    clockid_t clock;
    int64_t used_ns;
    uint64_t since_ms;
    bool lost;
};
/* The work struct is the operation's own (in its arena or heap) and stays until `done`. Holds a
 * reference to the call. */
void call_work_start(struct call *call, struct work *work, int (*run)(struct work *),
                     void (*done)(struct work *, int));
/* The same for what gives something back: it runs whatever becomes of the call. */
void call_work_always(struct call *call, struct work *work, int (*run)(struct work *),
                      void (*done)(struct work *, int));

/* ── streams: agent to client ── */

/*
 * The sending side of a call that opened a stream. The connection pulls: when its socket can take
 * data it calls `pump` of the next sender in turn, which sends at most one frame by call_send_data
 * / call_send_event (or ends the call) and says whether it did. A sender that had nothing calls
 * sender_wake later. So no sender can outgrow the connection or starve another, and nothing is
 * queued that isn't being written.
 */
struct sender {
    bool (*pump)(struct sender *sender);
    struct call *call;
    /* private to conn */
    bool awake;
    struct sender *prev, *next;
};
/* `window`: starting credit in bytes. An open stream, either way, holds a reference to its call
 * until the answer. */
void call_sender_start(struct call *call, struct sender *sender, bool (*pump)(struct sender *),
                       uint64_t window);
void call_sender_stop(struct call *call); /* also done by the answer */
void sender_wake(struct sender *sender);

/* How many data bytes may go out in one frame now: credit, bounded by the best chunk size (256
 * KiB). 0: not now; pump is called again when credit comes. */
size_t call_window(struct call *call);
/* All credit that the client gave and that wasn't used yet. */
uint64_t call_credit_left(struct call *call);
/* From pump only. `data` may point anywhere stable for the duration of the call: what the socket
 * doesn't take at once is copied. len ≤ call_window(). */
void call_send_data(struct call *call, const char *ch, uint64_t off, const void *data, size_t len);
void call_send_gap(struct call *call, const char *ch, uint64_t from, uint64_t to);
void call_send_end(struct call *call, const char *ch, uint64_t off);
/* Begins `stream.event` {id, event: name, …}: pack exactly `pairs` more entries, then
 * call_event_end. Events need no credit. From pump, or outside it for small ones (`started`). */
msgpack_packer *call_event_begin(struct call *call, const char *event, uint32_t pairs);
void call_event_end(struct call *call);

/* ── streams: client to agent ── */

/*
 * A buffer that frames were read into. A receiver that wants to keep a frame's bytes without a copy
 * takes a reference; the slice it got stays valid until buffer_unref.
 */
struct buffer {
    uint32_t refs;
    size_t cap;
    uint8_t data[];
};
struct buffer *buffer_ref(struct buffer *buffer);
void buffer_unref(struct buffer *buffer);

/*
 * The receiving side: `data` for each stream.data (never more bytes than credited: the connection
 * saw to it), `end` once for stream.end. Credit starts with limits.stream_credit; give more with
 * call_credit as bytes reach their place.
 */
struct receiver {
    void (*data)(struct receiver *receiver, struct slice data, struct buffer *owner);
    void (*end)(struct receiver *receiver);
};
void call_receiver_start(struct call *call, struct receiver *receiver);
void call_credit(struct call *call, uint64_t bytes);

/* ── what operations may ask of the agent and the connection ── */

/* hello showed the token (or none is needed): the connection counts from now on and takes bodies up
 * to client_frame. False when there are too many: the connection was told and is being closed. */
bool call_authenticate(struct call *call, uint64_t client_frame);
/* protocol.error and the close, for this call's connection. */
void call_refuse(struct call *call, enum status code, const char *message);

struct agent;
struct agent *call_agent(struct call *call);
