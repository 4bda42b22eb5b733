#include "files/remover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/files.h"

/* How often a directory that others fill meanwhile is emptied again. */
#define AGAIN_MAX 32

void remover_fail(struct remover *remover, size_t n, int reason, const char *path) {
    struct tree_removal *result = remover->result;

    result->failed++;
    if (result->reason == 0) {
        result->reason = reason;
        result->path = path ? strdup(path) : NULL;
    }
    /* No directory on the way can go now: don't try, and don't count them. */
    for (size_t i = n; i > 0 && !remover->about[i - 1].failed; i--)
        remover->about[i - 1].failed = true;
}

static void fail(struct remover *remover, int reason, const char *path) {
    remover_fail(remover, remover->way.n, reason, path);
}

/* Something is mounted on it, or it is in use as a root: for unlinkat both are EBUSY. */
static int reason_of(int err) {
    return err == EBUSY ? FILES_MOUNT_POINT : -err;
}

/* Nobody may be allowed to remove the directory and still what is in it: the kernel looks at that
 * first. */
static bool may_be_full(int r) {
    return r == -ENOTEMPTY || r == -EEXIST || r == -EACCES || r == -EPERM;
}

static int go_down(struct remover *remover, const char *name) {
    if (remover->way.n == remover->about_cap) {
        size_t cap = remover->about_cap * 2;
        struct about *about = realloc(remover->about, cap * sizeof(*about));
        if (!about)
            return -ENOMEM;
        remover->about = about;
        remover->about_cap = cap;
    }
    int r = descent_down(&remover->way, name, true);
    if (r == 0)
        remover->about[remover->way.n - 1] = (struct about){0};
    return r;
}

/* One name of the top: unlinked, or gone into. What changes its kind under our hands is tried a few
 * times. */
static void remove_name(struct remover *remover, const char *name, bool directory) {
    const int dir = descent_top(&remover->way)->dir.fd;
    int r = 0;

    for (int tries = 0; tries < 8; tries++) {
        if (unlinkat(dir, name, directory ? AT_REMOVEDIR : 0) == 0) {
            remover->result->removed++;
            return;
        }
        r = reason_of(errno);
        if (r == -ENOENT)
            return;
        if (directory && may_be_full(r)) {
            if (remover->may_help && helper_take(remover, name))
                return;
            r = go_down(remover, name);
            if (r == 0 || r == -ENOENT)
                return;
        }
        /* EISDIR: Linux's word for unlinking a directory. */
        if (!directory && r == -EISDIR)
            directory = true;
        else if (directory && (r == -ENOTDIR || r == -ELOOP))
            directory = false;
        else
            break;
    }
    fail(remover, r, descent_child(&remover->way, name));
}

/* The top is read to its end: leave it and remove it, or start it again if somebody has filled it.
 */
static int leave(struct remover *remover) {
    if (remover->helper)
        helper_settle(remover, remover->way.n);
    struct step *top = descent_top(&remover->way);
    const struct about about = remover->about[remover->way.n - 1];
    const size_t above = top[-1].path_len + 1;
    const size_t len = top->path_len - above;
    char name[NAME_MAX + 1];

    /* The path's text may have a child's name behind it by now. */
    memcpy(name, remover->way.path + above, len);
    name[len] = '\0';
    int r = descent_up(&remover->way);
    if (r < 0)
        return r;
    if (about.failed)
        return 0;
    const int dir = descent_top(&remover->way)->dir.fd;
    if (unlinkat(dir, name, AT_REMOVEDIR) == 0) {
        remover->result->removed++;
        return 0;
    }
    r = reason_of(errno);
    if ((r == -ENOTEMPTY || r == -EEXIST) && about.again < AGAIN_MAX) {
        r = go_down(remover, name);
        if (r == 0)
            remover->about[remover->way.n - 1].again = about.again + 1;
    }
    if (r != 0 && r != -ENOENT)
        fail(remover, r, descent_child(&remover->way, name));
    return 0;
}

/* Until only the first step, which holds what is removed, is left. Returns 0, FILES_CANCELLED, or
 * -errno when the way is lost. */
static int empty(struct remover *remover) {
    const char *name;
    unsigned char type;

    while (remover->way.n > 1) {
        if (atomic_load_explicit(remover->cancelled, memory_order_relaxed))
            return FILES_CANCELLED;
        struct step *top = descent_top(&remover->way);
        int r = dir_next(&top->dir, &name, &type);
        if (r == 1) {
            remove_name(remover, name, type == DT_DIR);
            continue;
        }
        if (r < 0) {
            remover->way.path[top->path_len] = '\0';
            fail(remover, r, remover->way.path);
        }
        r = leave(remover);
        if (r < 0)
            return r;
    }
    return 0;
}

int remover_run(struct remover *remover, int parent, const char *parent_path, const char *name,
                bool directory) {
    int r = descent_init(&remover->way, parent, parent_path);
    if (r < 0)
        return r;
    remover->about_cap = 16;
    remover->about = calloc(remover->about_cap, sizeof(*remover->about));
    if (remover->about) {
        remove_name(remover, name, directory);
        r = empty(remover);
    } else {
        r = -ENOMEM;
    }
    helper_end(remover);
    descent_deinit(&remover->way);
    free(remover->about);
    remover->about = NULL;
    return r;
}
