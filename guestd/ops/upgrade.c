/* upgrade: the next agent, and with `supervisor` the supervisor too, from a given file.
 * PROTOCOL.md, "upgrade". */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/call.h"
#include "files/executable.h"
#include "ops/file_reply.h"
#include "ops/sha256.h"

struct upgrade_params {
    uint64_t present;
    const char *path;
    const char *sha256;
    bool supervisor;
};

static const struct field fields[] = {
    FIELD(upgrade_params, path, PATH, .required = true),
    FIELD(upgrade_params, sha256, STR, .required = true),
    FIELD(upgrade_params, supervisor, BOOL),
    FIELDS_END,
};

struct upgrade_call {
    struct work work;
    const struct upgrade_params *params;
    uint8_t sha256[SHA256_BYTES];
    int executable;
};

static int copy(struct work *work) {
    struct upgrade_call *upgrade = (struct upgrade_call *)work;

    return executable_copy(upgrade->params->path, upgrade->sha256, &work->cancelled,
                           &upgrade->executable);
}

/* The supervisor has decided. The swap begins behind this answer. */
static void on_done(int err, void *arg) {
    struct call *call = arg;
    struct agent *agent = call_agent(call);

    if (err == EBUSY) {
        call_fail(call, STATUS_BUSY, err, NULL,
                  "an upgrade is under way, a program's start hangs, or guestd stops");
    } else if (err == ENOEXEC) {
        call_fail(call, STATUS_UNSUPPORTED, err, "supervisor",
                  "this file can't take over from the supervisor that runs");
    } else if (err) {
        call_fail(call, status_from_errno(err), err, NULL, "upgrade: %s", strerror(err));
    } else {
        agent->hello.upgrade = LINK_UPGRADE_PENDING;
        agent->hello.upgrade_at = agent_now();
        call_reply_empty(call);
    }
    call_unref(call);
}

static void on_copied(struct work *work, int result) {
    struct upgrade_call *upgrade = (struct upgrade_call *)work;
    struct call *call = work->call;
    uint32_t flags = upgrade->params->supervisor ? LINK_UPGRADE_SUPERVISOR : 0;

    if (result == -ENOEXEC) {
        call_fail(call, STATUS_WRONG_TYPE, ENOEXEC, "path", "no executable for this machine");
    } else if (result == -EFBIG) {
        call_fail(call, STATUS_TOO_LARGE, EFBIG, "path", "an executable has at most %u MiB",
                  (unsigned)(EXECUTABLE_MAX >> 20));
    } else if (result != 0) {
        file_fail(call, result, upgrade->params->path);
    } else if (work->cancelled) { /* cancelled, or its connection is gone */
        close(upgrade->executable);
    } else {
        int r =
            agent_upgrade(call_agent(call), upgrade->executable, flags, on_done, call_ref(call));

        if (r < 0)
            on_done(-r, call);
    }
}

static void run(struct call *call, const void *params) {
    struct upgrade_call *upgrade = arena_alloc(call_arena(call), sizeof(*upgrade));

    if (!upgrade) {
        call_fail(call, STATUS_LIMIT_EXCEEDED, ENOMEM, NULL, "no memory for the request");
        return;
    }
    upgrade->params = params;
    if (!sha256_parse(upgrade->params->sha256, upgrade->sha256)) {
        call_fail(call, STATUS_INVALID_REQUEST, 0, "sha256", "64 hex digits");
        return;
    }
    call_work_start(call, &upgrade->work, copy, on_copied);
}

const struct op op_upgrade = {"upgrade", fields, sizeof(struct upgrade_params), run, 0};
