/*
 * rm -rf --one-file-system --preserve-root: every step relative to an open directory, never through
 * a symlink, so that nobody who changes the tree meanwhile can have something else removed.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct tree_removal {
    uint64_t removed; /* entries, directories included */
    uint64_t failed;  /* entries that would not go; directories left only because of what is in them
                         don't count */
    int reason;       /* of the first failure: -errno or FILES_MOUNT_POINT; 0: none */
    char *path;       /* and its path, on the heap; NULL: no failure, or no memory */
};

/*
 * Removes `path` itself if it is a symlink or file, the whole tree if it is a directory. It goes on
 * past what can't be removed. `cancelled` is looked at before each entry.
 *
 * Returns 0 when all is gone; else the reason: -errno, FILES_MOUNT_POINT, FILES_ROOT, FILES_DOT,
 * FILES_CANCELLED; -ENOENT when there was nothing. *ret is filled in any case; tree_removal_deinit.
 */
int tree_remove(const char *path, const _Atomic bool *cancelled, struct tree_removal *ret);
void tree_removal_deinit(struct tree_removal *removal);
