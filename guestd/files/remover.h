/*
 * The walk that removes a tree, and a second thread that takes subtrees off it: unlinking in two
 * directories at once takes little more than half the time (in one directory the kernel lets only
 * one thread in). Private to this room.
 */
#pragma once

#include "files/descent.h"
#include "files/tree_remove.h"

struct helper;

/* What is known of way.steps[i]. */
struct about {
    bool failed; /* something in it stays, so it does too */
    unsigned again;
};

struct remover {
    struct descent way;
    struct about *about;
    size_t about_cap;
    const _Atomic bool *cancelled;
    struct tree_removal *result;
    struct helper *helper; /* NULL: none, or none yet */
    bool may_help;         /* may have one */
};

/*
 * Removes `name` and all below it from the directory `parent`, which it owns from here and never
 * reads; `parent_path` is what that is called. Returns 0 when it came to the end, whatever failed
 * on the way; FILES_CANCELLED; or -errno when the way was lost. The remover is zeroed but for
 * cancelled, result and may_help before it and empty after it.
 */
int remover_run(struct remover *remover, int parent, const char *parent_path, const char *name,
                bool directory);

/* Counts a failure; `reason` and `path` are kept of the first. Every directory on the way down to
 * step n stays. */
void remover_fail(struct remover *remover, size_t n, int reason, const char *path);

/* Hands `name` of the top, a directory that isn't empty, to the helper, who is made if need be.
 * False: it is busy, or there is none. */
bool helper_take(struct remover *remover, const char *name);

/* Waits until nothing that was taken from step n is under way, and counts what came of it. */
void helper_settle(struct remover *remover, size_t n);

/* The same of all, and its end. */
void helper_end(struct remover *remover);
