/* file.remove: a file or a whole tree, as rm -rf --one-file-system --preserve-root. PROTOCOL.md,
 * "Files". */
#include <errno.h>

#include "agent/call.h"
#include "files/tree_remove.h"
#include "files/user.h"
#include "ops/file_reply.h"
#include "proto/message.h"

struct remove_params {
    uint64_t present;
    const char *path;
    bool missing_ok;
    const char *user;
};

static const struct field fields[] = {
    FIELD(remove_params, path, PATH, .required = true),
    FIELD(remove_params, missing_ok, BOOL),
    FIELD(remove_params, user, STR),
    FIELDS_END,
};

struct remove_call {
    struct work work;
    const struct remove_params *params;
    struct identity identity;
    struct tree_removal removal;
};

static int remove_all(struct work *work) {
    struct remove_call *remove = (struct remove_call *)work;
    const struct remove_params *p = remove->params;

    int r = user_enter(p->user, &remove->identity);
    if (r != 0)
        return r;
    r = tree_remove(p->path, &work->cancelled, &remove->removal);
    user_leave(p->user, &remove->identity);
    return r;
}

/* The first failure's code; how far it came and what stopped it in `data`. */
static void fail(struct remove_call *remove, int result) {
    const struct tree_removal *removal = &remove->removal;
    const char *path = removal->path ? removal->path : remove->params->path;
    struct failure failure = {0};
    msgpack_sbuffer data;
    msgpack_packer pk;

    file_failure(&failure, result, path);
    msgpack_sbuffer_init(&data);
    msgpack_packer_init(&pk, &data, msgpack_sbuffer_write);
    msgpack_pack_map(&pk, 3);
    pack_kv_uint(&pk, "removed", removal->removed);
    pack_kv_uint(&pk, "failed", removal->failed);
    pack_kv_name(&pk, "path", path);
    call_fail_data(remove->work.call, &failure, (struct slice){(uint8_t *)data.data, data.size});
    msgpack_sbuffer_destroy(&data);
}

static void on_removed(struct work *work, int result) {
    struct remove_call *remove = (struct remove_call *)work;
    const struct tree_removal *removal = &remove->removal;

    if (result == 0 || (result == -ENOENT && remove->params->missing_ok)) {
        msgpack_packer *pk = call_reply_begin(work->call, 1);
        pack_kv_uint(pk, "removed", removal->removed);
        call_reply_end(work->call);
    } else if (removal->removed || removal->failed) {
        fail(remove, result);
    } else {
        file_fail(work->call, result, remove->params->path);
    }
    tree_removal_deinit(&remove->removal);
}

/* Nothing to do here: the walk looks at `cancelled`, and its answer says how far it came. Until
 * then the client isn't told that it has ended. */
static void on_cancel(struct call *call, enum cancel_reason reason, void *arg) {
}

static void run(struct call *call, const void *params) {
    struct remove_call *remove = arena_alloc(call_arena(call), sizeof(*remove));

    if (!remove) {
        call_fail(call, STATUS_INTERNAL, ENOMEM, NULL, "out of memory");
        return;
    }
    remove->params = params;
    call_on_cancel(call, on_cancel, NULL);
    call_work_start(call, &remove->work, remove_all, on_removed);
}

const struct op op_file_remove = {"file.remove", fields, sizeof(struct remove_params), run, 0};
