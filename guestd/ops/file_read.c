/* file.read: a regular file or a piece of it, in the answer or as a stream. PROTOCOL.md, "Files".
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/call.h"
#include "files/read.h"
#include "files/user.h"
#include "ops/ahead.h"
#include "ops/file_reply.h"
#include "ops/hold.h"
#include "proto/limits.h"
#include "proto/message.h"

#define WHOLE_MAX (1u << 20) /* bytes in one answer */
#define PART (256u << 10)    /* bytes read ahead, twice */
#define ANSWER_OVERHEAD 128u /* of what the data is wrapped in */

struct read_params {
    uint64_t present;
    const char *path;
    uint64_t off, len;
    bool stream;
    uint64_t window;
    const char *user;
};

enum {
    HAS_LEN = 1 << 2,
};
static const struct field fields[] = {
    FIELD(read_params, path, PATH, .required = true),
    FIELD(read_params, off, UINT, .max = INT64_MAX),
    FIELD(read_params, len, UINT, .max = INT64_MAX),
    FIELD(read_params, stream, BOOL),
    FIELD(read_params, window, UINT, .max = MAX_WINDOW, .otherwise.u = DEFAULT_WINDOW),
    FIELD(read_params, user, STR),
    FIELDS_END,
};

/* One of the two ways uses `work` and `hold`, the other `ahead`. */
struct read_call {
    struct ahead ahead;
    struct work work;
    struct hold hold;
    const struct read_params *params;
    struct identity identity;
    int fd; /* −1: not opened yet */
    uint64_t size, off, left;
    bool eof;
    struct part {
        uint8_t *data; /* on the heap */
        size_t len, sent;
    } part[2]; /* the whole answer is the first */
    uint64_t sent_to;
};

static int open_file(struct read_call *read) {
    const char *user = read->params->user;

    int r = user_enter(user, &read->identity);
    if (r != 0)
        return r;
    r = read_open(read->params->path, &read->fd, &read->size);
    user_leave(user, &read->identity);
    return r;
}

/* Fills the part from where the last one ended. */
static int read_part(struct read_call *read, struct part *part, size_t room) {
    const size_t want = read->left < room ? (size_t)read->left : room;

    part->sent = part->len = 0;
    if (!part->data)
        part->data = malloc(want ? want : 1);
    if (!part->data)
        return -ENOMEM;
    int r = read_at(read->fd, read->off, part->data, want, &part->len, &read->eof);
    if (r < 0)
        return r;
    read->off += part->len;
    read->left -= part->len;
    return 0;
}

static void close_file(struct read_call *read) {
    if (read->fd >= 0)
        close(read->fd);
    read->fd = -1;
}

static void free_parts(struct read_call *read) {
    free(read->part[0].data);
    free(read->part[1].data);
}

/* ── in the answer ── */

static int read_whole(struct work *work) {
    struct read_call *read = (struct read_call *)((char *)work - offsetof(struct read_call, work));

    int r = open_file(read);
    if (r == 0)
        r = read_part(read, &read->part[0], WHOLE_MAX);
    close_file(read);
    return r;
}

static void let_go(struct call *call, void *arg) {
    struct read_call *read = arg;

    free_parts(read);
    hold_release(&read->hold);
}

/* When it is the next to be sent: until then the data is in one place only. */
static void reply(struct call *call, void *arg) {
    const struct read_call *read = arg;
    const struct part *part = &read->part[0];

    msgpack_packer *pk = call_reply_begin(call, 4);
    pack_text(pk, "data");
    pack_bytes(pk, part->data, part->len);
    pack_kv_uint(pk, "size", read->size);
    pack_kv_uint(pk, "off", read->params->off);
    pack_kv_bool(pk, "eof", read->eof);
    call_reply_end(call);
    let_go(call, arg);
}

static void on_read(struct work *work, int result) {
    struct read_call *read = (struct read_call *)((char *)work - offsetof(struct read_call, work));

    if (result == 0) {
        call_reply_later(work->call, read->part[0].len, reply, let_go, read);
        return;
    }
    file_fail(work->call, result, read->params->path);
    let_go(work->call, read);
}

static void start_reading(struct hold *hold) {
    struct read_call *read = (struct read_call *)((char *)hold - offsetof(struct read_call, hold));

    if (call_answered(hold->call))
        let_go(hold->call, read);
    else
        call_work_start(hold->call, &read->work, read_whole, on_read);
}

/* ── as a stream ── */

static int fill(struct ahead *ahead, unsigned part, bool *ret_last) {
    struct read_call *read = (struct read_call *)ahead;

    int r = read->fd < 0 ? open_file(read) : 0;
    if (r == 0)
        r = read_part(read, &read->part[part], PART);
    *ret_last = r == 0 && (read->eof || read->left == 0);
    return r;
}

static bool send_part(struct ahead *ahead, unsigned index, bool *ret_empty) {
    struct read_call *read = (struct read_call *)ahead;
    struct part *part = &read->part[index];
    const size_t window = call_window(ahead->call), left = part->len - part->sent;
    const size_t len = left < window ? left : window;

    if (len > 0)
        call_send_data(ahead->call, "file", read->sent_to, part->data + part->sent, len);
    part->sent += len;
    read->sent_to += len;
    *ret_empty = part->sent == part->len;
    return len > 0;
}

static void close_stream(struct ahead *ahead) {
    close_file((struct read_call *)ahead);
}

static void answer(struct ahead *ahead, int result) {
    struct read_call *read = (struct read_call *)ahead;

    if (result != 0) {
        file_fail(ahead->call, result, read->params->path);
    } else {
        call_send_end(ahead->call, "file", read->sent_to);
        msgpack_packer *pk = call_reply_begin(ahead->call, 3);
        pack_kv_uint(pk, "size", read->size);
        pack_kv_uint(pk, "off", read->sent_to);
        pack_kv_bool(pk, "eof", read->eof);
        call_reply_end(ahead->call);
    }
    free_parts(read);
}

static const struct ahead_way way = {fill, send_part, close_stream, answer};

static void run(struct call *call, const void *params) {
    const struct read_params *p = params;
    struct read_call *read;

    if (!p->stream && p->len > WHOLE_MAX) {
        call_fail(call, STATUS_TOO_LARGE, 0, "len", "over %u bytes only as a stream", WHOLE_MAX);
        return;
    }
    read = arena_alloc(call_arena(call), sizeof(*read));
    if (!read) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    read->params = p;
    read->fd = -1;
    read->off = read->sent_to = p->off;
    read->left = p->present & HAS_LEN ? p->len : UINT64_MAX;
    if (p->stream) {
        ahead_start(&read->ahead, call, &way, p->window);
        return;
    }
    const uint64_t fits = call_client_frame(call) - ANSWER_OVERHEAD;
    read->left = read->left < fits ? read->left : fits;
    hold_ask(&read->hold, call, read->left < WHOLE_MAX ? read->left : WHOLE_MAX, start_reading);
}

const struct op op_file_read = {"file.read", fields, sizeof(struct read_params), run, 0};
