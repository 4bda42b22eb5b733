/*
 * A streamed upload. What the client sends waits in a list of slices, held where the socket was
 * read into; one job at a time takes the whole list to the disk, and gives the client credit for as
 * much. So disk and socket work side by side, with at most IN_FLIGHT bytes between them.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent.h"
#include "ops/file_reply.h"
#include "ops/file_write.h"
#include "proto/limits.h"

#define IN_FLIGHT (1u << 20) /* bytes, once the first ones were written */
#define SMALL \
    (4u << 10) /* slices up to this are copied together: a list of single bytes would be long */
#define TOGETHER (64u << 10)

struct chunk {
    struct slice data;
    struct buffer *owner; /* NULL: the data is our own copy, of up to TOGETHER bytes */
};

struct chunks {
    struct chunk *v;
    size_t n, cap;
};

struct write_stream {
    struct receiver receiver;
    struct write_call *write;
    struct upload upload;
    struct chunks waiting, writing;
    uint64_t wrote; /* bytes of the job that ran last */
    bool begun;     /* upload must be ended */
    bool ended;     /* the client said so */
    bool committing;
    bool working, over, cancelled, widened;
    int reason; /* of the cancelling */
};

/* ── the list ── */

static struct chunk *add_chunk(struct chunks *chunks) {
    if (chunks->n == chunks->cap) {
        size_t cap = chunks->cap ? chunks->cap * 2 : 16;
        struct chunk *v = realloc(chunks->v, cap * sizeof(*v));
        if (!v)
            return NULL;
        chunks->v = v;
        chunks->cap = cap;
    }
    assert(chunks->v);
    chunks->v[chunks->n] = (struct chunk){0};
    return &chunks->v[chunks->n++];
}

static bool add_copy(struct chunks *chunks, struct slice data) {
    struct chunk *chunk = chunks->n ? &chunks->v[chunks->n - 1] : NULL;

    if (!chunk || chunk->owner || chunk->data.len + data.len > TOGETHER) {
        uint8_t *copy = malloc(data.len > TOGETHER ? data.len : TOGETHER);
        chunk = copy ? add_chunk(chunks) : NULL;
        if (!chunk) {
            free(copy);
            return false;
        }
        chunk->data.data = copy;
    }
    memcpy((uint8_t *)chunk->data.data + chunk->data.len, data.data, data.len);
    chunk->data.len += data.len;
    return true;
}

static bool add(struct chunks *chunks, struct slice data, struct buffer *owner) {
    /* Nor may a few bytes hold the large buffer that they came in. */
    if (data.len <= SMALL || data.len < owner->cap / 4)
        return data.len == 0 || add_copy(chunks, data);
    struct chunk *chunk = add_chunk(chunks);
    if (!chunk)
        return false;
    *chunk = (struct chunk){data, buffer_ref(owner)};
    return true;
}

static void drop_chunks(struct chunks *chunks) {
    for (size_t i = 0; i < chunks->n; i++) {
        if (chunks->v[i].owner)
            buffer_unref(chunks->v[i].owner);
        else
            free((void *)chunks->v[i].data.data);
    }
    chunks->n = 0;
}

/* ── on the pool ── */

static int write_chunks(struct write_stream *stream) {
    int r = 0;

    stream->wrote = 0;
    for (size_t i = 0; r == 0 && i < stream->writing.n; i++) {
        const struct slice data = stream->writing.v[i].data;
        r = upload_write(&stream->upload, data.data, data.len);
        stream->wrote += data.len;
    }
    return r;
}

/* Begins it if need be, writes what came, publishes when it was the last, and ends it when
 * something went wrong. */
static int work_on(struct work *work) {
    struct write_call *write =
        (struct write_call *)((char *)work - offsetof(struct write_call, work));
    struct write_stream *stream = write->stream;
    int r = 0;

    if (!stream->begun) {
        r = file_write_open(write);
        if (r == 0)
            r = upload_begin(&stream->upload, &write->request);
        stream->begun = r == 0;
    }
    if (r == 0)
        r = write_chunks(stream);
    if (r == 0 && stream->committing)
        r = upload_commit(&stream->upload, &write->reader, &write->entry);
    if (stream->begun && (r != 0 || stream->committing)) {
        upload_end(&stream->upload);
        stream->begun = false;
    }
    return r;
}

static int give_up(struct work *work) {
    struct write_call *write =
        (struct write_call *)((char *)work - offsetof(struct write_call, work));

    upload_end(&write->stream->upload);
    write->stream->begun = false;
    return -ECANCELED;
}

/* ── on the loop ── */

static void finish(struct write_stream *stream, int result) {
    struct write_call *write = stream->write;

    drop_chunks(&stream->waiting);
    drop_chunks(&stream->writing);
    free(stream->waiting.v);
    free(stream->writing.v);
    stream->waiting = stream->writing = (struct chunks){0};
    write->bytes = stream->upload.bytes;
    stream->over = true;
    file_write_answer(write, result);
}

static void on_worked(struct work *work, int result);

static void on_given_up(struct work *work, int result) {
    struct write_call *write =
        (struct write_call *)((char *)work - offsetof(struct write_call, work));

    finish(write->stream, write->stream->reason);
}

static void go_on(struct write_stream *stream) {
    struct write_call *write = stream->write;

    if (stream->working || stream->over)
        return;
    if (stream->cancelled) {
        stream->working = true;
        if (stream->begun)
            call_work_always(write->call, &write->work, give_up, on_given_up);
        else
            finish(stream, stream->reason);
        return;
    }
    /* Before any data comes the upload is begun: what refuses it is told at once. */
    if (stream->begun && !stream->waiting.n && !stream->ended)
        return;
    const struct chunks empty = stream->writing;
    stream->writing = stream->waiting;
    stream->waiting = empty;
    stream->committing = stream->ended;
    stream->working = true;
    call_work_start(write->call, &write->work, work_on, on_worked);
}

static void on_worked(struct work *work, int result) {
    struct write_call *write =
        (struct write_call *)((char *)work - offsetof(struct write_call, work));
    struct write_stream *stream = write->stream;
    const uint64_t window = call_agent(write->call)->limit[LIMIT_stream_credit];

    stream->working = false;
    if (result == -ECANCELED && stream->cancelled) { /* it never ran */
        go_on(stream);
        return;
    }
    if (result != 0 || stream->committing) {
        finish(stream, result);
        return;
    }
    drop_chunks(&stream->writing);
    uint64_t credit = stream->wrote;
    if (credit && !stream->widened && window < IN_FLIGHT) {
        stream->widened = true;
        credit += IN_FLIGHT - window;
    }
    call_credit(write->call, credit);
    go_on(stream);
}

static void on_data(struct receiver *receiver, struct slice data, struct buffer *owner) {
    struct write_stream *stream = (struct write_stream *)receiver;

    if (stream->over || stream->cancelled)
        return;
    if (!add(&stream->waiting, data, owner)) {
        /* What is missing can't be published. */
        stream->cancelled = true;
        stream->reason = -ENOMEM;
    }
    go_on(stream);
}

static void on_end(struct receiver *receiver) {
    struct write_stream *stream = (struct write_stream *)receiver;

    stream->ended = true;
    go_on(stream);
}

static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
    struct write_stream *stream = arg;

    stream->cancelled = true;
    stream->reason = -ECANCELED;
    go_on(stream);
}

void file_write_stream(struct write_call *write) {
    struct write_stream *stream = arena_alloc(call_arena(write->call), sizeof(*stream));

    if (!stream) {
        call_fail(write->call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    write->stream = stream;
    stream->write = write;
    stream->receiver.data = on_data;
    stream->receiver.end = on_end;
    call_on_cancel(write->call, on_cancel, stream);
    call_receiver_start(write->call, &stream->receiver);
    go_on(stream);
}
