/* file.mkdir: makes a directory and what is missing above it, as mkdir -p does. PROTOCOL.md,
 * "Files". */
#include <errno.h>
#include <unistd.h>

#include "agent/call.h"
#include "files/entry.h"
#include "files/tree_mkdir.h"
#include "files/user.h"
#include "ops/file_reply.h"
#include "proto/message.h"

struct mkdir_params {
    uint64_t present;
    const char *path;
    int64_t mode;
    bool parents;
    const char *user;
};

enum {
    HAS_MODE = 1 << 1,
};
static const struct field fields[] = {
    FIELD(mkdir_params, path, PATH, .required = true),
    FIELD(mkdir_params, mode, INT, .min = 0, .max = 07777, .otherwise.i = 0755),
    FIELD(mkdir_params, parents, BOOL, .otherwise.b = true),
    FIELD(mkdir_params, user, STR),
    FIELDS_END,
};

struct mkdir_call {
    struct work work;
    const struct mkdir_params *params;
    struct identity identity;
    bool created;
    struct entry_reader reader;
    struct entry entry;
};

static int make(struct work *work) {
    struct mkdir_call *mkdir = (struct mkdir_call *)work;
    const struct mkdir_params *p = mkdir->params;
    const struct tree_mkdir request = {
        .path = p->path,
        .mode = (mode_t)p->mode,
        .has_mode = p->present & HAS_MODE,
        .parents = p->parents,
    };

    int r = user_enter(p->user, &mkdir->identity);
    if (r != 0)
        return r;
    int fd = tree_mkdir(&request, &mkdir->created);
    user_leave(p->user, &mkdir->identity);
    if (fd < 0)
        return fd;
    r = entry_read_fd(&mkdir->reader, fd, p->path, &mkdir->entry);
    close(fd);
    return r;
}

static void on_made(struct work *work, int result) {
    struct mkdir_call *mkdir = (struct mkdir_call *)work;

    if (result != 0) {
        file_fail(work->call, result, mkdir->params->path);
    } else {
        msgpack_packer *pk = call_reply_begin(work->call, 2);
        pack_text(pk, "entry");
        file_pack_entry(pk, &mkdir->entry);
        pack_kv_bool(pk, "created", mkdir->created);
        call_reply_end(work->call);
    }
    entry_reader_deinit(&mkdir->reader);
}

static void run(struct call *call, const void *params) {
    struct mkdir_call *mkdir = arena_alloc(call_arena(call), sizeof(*mkdir));

    if (!mkdir) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    mkdir->params = params;
    call_work_start(call, &mkdir->work, make, on_made);
}

const struct op op_file_mkdir = {"file.mkdir", fields, sizeof(struct mkdir_params), run, 0};
