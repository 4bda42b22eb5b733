/*
 * Who a program runs as, and where it starts when the request doesn't say: from passwd and group,
 * which are read on the pool. The default user is asked for by nearly every exec, so that it is
 * kept as long as /etc/passwd stays the same file.
 */
#include <errno.h>
#include <string.h>

#include "files/statx.h"
#include "files/user.h"
#include "ops/exec_private.h"

/* What changes when the file does; all zero where there is none. */
struct version {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

static struct {
    bool known;
    struct version version;
    struct identity identity;
} standard;

static struct version version_now(void) {
    struct version version;
    struct stat st;

    memset(&version, 0, sizeof(version)); /* the padding too: versions are compared as bytes */
    if (stat("/etc/passwd", &st) < 0)
        return version;
    version.dev = st.st_dev;
    version.ino = st.st_ino;
    version.size = st.st_size;
    version.mtime = st.st_mtim;
    version.ctime = st.st_ctim;
    return version;
}

/* The contract's default: the user's home, or / */
static const char *start_of(const struct identity *identity) {
    struct statx home;
    /* Also asked on the loop: what is known is enough, where asking a server could last. */
    int r =
        statx_at(AT_FDCWD, identity->home, AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC, STATX_TYPE, &home);

    return r == 0 && S_ISDIR(home.stx_mode) ? identity->home : "/";
}

static void follow(struct exec *exec, const struct identity *identity, const char *start) {
    struct job_order *order = &exec->order;

    order->set_user = exec->params->user != NULL;
    order->uid = identity->uid;
    order->gid = identity->gid;
    order->groups = identity->groups;
    order->n_groups = identity->n_groups;
    order->user = identity->name;
    order->home = identity->home;
    order->shell = identity->shell;
    if (!order->cwd)
        order->cwd = start;
    exec_follow(exec);
}

/* ── on the pool ── */

struct look_up {
    struct work work;
    struct exec *exec;
    const char *user;
    struct version version;
    struct identity identity;
    const char *start;
};

static int look_up_run(struct work *work) {
    struct look_up *look_up = (struct look_up *)work;
    int r;

    look_up->version = version_now();
    r = user_resolve(look_up->user, &look_up->identity);
    if (r == 0)
        look_up->start = start_of(&look_up->identity);
    return r;
}

static void fail(struct call *call, int err) {
    if (err == -ENOENT)
        call_fail(call, STATUS_NOT_FOUND, ENOENT, "user", "no such user or group");
    else if (err == -EINVAL)
        call_fail(call, STATUS_INVALID_REQUEST, EINVAL, "user",
                  "user is name, uid, name:group or uid:gid");
    else
        call_fail(call, status_from_errno(err), err, "user", "the user could not be looked up: %s",
                  strerror(-err));
}

static void looked_up(struct work *work, int result) {
    struct look_up *look_up = (struct look_up *)work;
    struct exec *exec = look_up->exec;

    if (call_answered(exec->call)) { /* cancelled meanwhile */
    } else if (result < 0) {
        fail(exec->call, result);
    } else if (look_up->user) {
        follow(exec, &look_up->identity, look_up->start);
    } else {
        identity_deinit(&standard.identity);
        standard.identity = look_up->identity;
        standard.version = look_up->version;
        standard.known = true;
        look_up->identity = (struct identity){0};
        follow(exec, &standard.identity, look_up->start);
    }
    identity_deinit(&look_up->identity);
}

void exec_find_user(struct exec *exec) {
    struct version now = version_now();
    struct look_up *look_up;

    if (!exec->params->user && standard.known && !memcmp(&now, &standard.version, sizeof(now))) {
        follow(exec, &standard.identity, exec->params->cwd ? NULL : start_of(&standard.identity));
        return;
    }
    look_up = arena_alloc(call_arena(exec->call), sizeof(*look_up));
    if (!look_up) {
        call_fail(exec->call, STATUS_INTERNAL, ENOMEM, NULL, "no memory for the request");
        return;
    }
    look_up->exec = exec;
    look_up->user = exec->params->user;
    call_work_start(exec->call, &look_up->work, look_up_run, looked_up);
}
