/* file.write: a whole file in one frame or as a stream, or a piece of it in place. PROTOCOL.md,
 * "Files". */
#include "ops/file_write.h"

#include <errno.h>

#include "files/files.h"
#include "files/litter.h"
#include "files/user.h"
#include "ops/file_reply.h"
#include "ops/sha256.h"
#include "proto/message.h"

enum {
    HAS_DATA = 1 << 1,
    HAS_MODE = 1 << 3,
    HAS_SIZE = 1 << 6,
    HAS_OFF = 1 << 10,
    HAS_ATOMIC = 1 << 11,
};
static const struct field fields[] = {
    FIELD(write_params, path, PATH, .required = true),
    FIELD(write_params, data, BYTES),
    FIELD(write_params, stream, BOOL),
    FIELD(write_params, mode, INT, .min = 0, .max = 07777),
    FIELD(write_params, user, STR),
    FIELD(write_params, create_parents, BOOL),
    FIELD(write_params, size, UINT, .max = INT64_MAX),
    FIELD(write_params, sha256, STR),
    FIELD(write_params, fsync, BOOL),
    FIELD(write_params, append, BOOL),
    FIELD(write_params, off, UINT, .max = INT64_MAX),
    FIELD(write_params, atomic, BOOL),
    FIELDS_END,
};

/* What excludes each other. Returns the field that is one too many, or NULL. */
static const char *contradiction(const struct write_params *p, const char **ret_text) {
    const bool in_place = p->append || p->present & HAS_OFF;
    const bool atomic = p->present & HAS_ATOMIC && p->atomic;

    *ret_text = "either data or stream";
    if (p->stream == !!(p->present & HAS_DATA))
        return "data";
    *ret_text = "not together with append";
    if (p->append && p->present & HAS_OFF)
        return "off";
    *ret_text = "can't be checked before a file is written in place";
    if (p->sha256 && (in_place || (p->stream && p->present & HAS_ATOMIC && !p->atomic)))
        return "sha256";
    *ret_text = "append and off write in place";
    if (in_place && atomic)
        return "atomic";
    return NULL;
}

static enum upload_way way_of(const struct write_params *p) {
    if (p->append)
        return UPLOAD_APPEND;
    if (p->present & HAS_OFF)
        return UPLOAD_AT;
    if (!(p->present & HAS_ATOMIC))
        return UPLOAD_REPLACE;
    return p->atomic ? UPLOAD_ATOMIC : UPLOAD_IN_PLACE;
}

int file_write_open(struct write_call *write) {
    const struct write_params *p = write->params;

    litter_start(LITTER_DIR);
    int r = user_find(p->user, &write->identity);
    write->request = (struct upload_request){
        .path = p->path,
        .user = p->user ? &write->identity : NULL,
        .mode = (mode_t)p->mode,
        .has_mode = p->present & HAS_MODE,
        .create_parents = p->create_parents,
        .sync = p->fsync,
        .has_size = p->present & HAS_SIZE,
        .size = p->size,
        .sha256 = p->sha256 ? write->sha256 : NULL,
        .way = way_of(p),
        .off = p->off,
    };
    return r;
}

void file_write_answer(struct write_call *write, int result) {
    if (result != 0) {
        file_fail(write->call, result, write->params->path);
    } else {
        msgpack_packer *pk = call_reply_begin(write->call, 2);
        pack_text(pk, "entry");
        file_pack_entry(pk, &write->entry);
        pack_kv_uint(pk, "bytes", write->bytes);
        call_reply_end(write->call);
    }
    entry_reader_deinit(&write->reader);
    identity_deinit(&write->identity);
}

/* ── in one frame ── */

static int write_whole(struct work *work) {
    struct write_call *write =
        (struct write_call *)((char *)work - offsetof(struct write_call, work));
    const struct slice data = write->params->data;

    int r = file_write_open(write);
    if (r == 0)
        r = upload_whole(&write->request, data.data, data.len, &write->reader, &write->entry);
    write->bytes = data.len;
    return r;
}

static void on_written(struct work *work, int result) {
    file_write_answer((struct write_call *)((char *)work - offsetof(struct write_call, work)),
                      result);
}

static void run(struct call *call, const void *params) {
    const struct write_params *p = params;
    struct write_call *write = arena_alloc(call_arena(call), sizeof(*write));
    const char *text, *field = contradiction(p, &text);

    if (!write) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    if (p->sha256 && !field && !sha256_parse(p->sha256, write->sha256)) {
        field = "sha256";
        text = "64 hex digits";
    }
    if (field) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, field, "%s: %s", field, text);
        return;
    }
    write->call = call;
    write->params = p;
    if (p->stream)
        file_write_stream(write);
    else
        call_work_start(call, &write->work, write_whole, on_written);
}

const struct op op_file_write = {"file.write", fields, sizeof(struct write_params), run, 0};
