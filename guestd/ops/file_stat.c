/* file.stat: one entry, as statx(2) tells it. PROTOCOL.md, "Files". */
#include <fcntl.h>

#include "agent/call.h"
#include "files/entry.h"
#include "files/user.h"
#include "ops/file_reply.h"
#include "proto/message.h"

struct stat_params {
    uint64_t present;
    const char *path;
    bool follow;
    const char *user;
};

static const struct field fields[] = {
    FIELD(stat_params, path, PATH, .required = true),
    FIELD(stat_params, follow, BOOL),
    FIELD(stat_params, user, STR),
    FIELDS_END,
};

struct stat_call {
    struct work work;
    const struct stat_params *params;
    struct identity identity;
    struct entry_reader reader;
    struct entry entry;
};

static int look(struct work *work) {
    struct stat_call *stat = (struct stat_call *)work;
    const struct stat_params *p = stat->params;

    int r = user_enter(p->user, &stat->identity);
    if (r != 0)
        return r;
    r = entry_read(&stat->reader, AT_FDCWD, p->path, p->follow, p->path, &stat->entry);
    user_leave(p->user, &stat->identity);
    return r;
}

static void on_looked(struct work *work, int result) {
    struct stat_call *stat = (struct stat_call *)work;

    if (result != 0) {
        file_fail(work->call, result, stat->params->path);
    } else {
        msgpack_packer *pk = call_reply_begin(work->call, 1);
        pack_text(pk, "entry");
        file_pack_entry(pk, &stat->entry);
        call_reply_end(work->call);
    }
    entry_reader_deinit(&stat->reader);
}

static void run(struct call *call, const void *params) {
    struct stat_call *stat = arena_alloc(call_arena(call), sizeof(*stat));

    if (!stat) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    stat->params = params;
    call_work_start(call, &stat->work, look, on_looked);
}

const struct op op_file_stat = {"file.stat", fields, sizeof(struct stat_params), run, 0};
