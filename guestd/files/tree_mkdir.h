/*
 * mkdir -p: a directory and what is missing above it.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct tree_mkdir {
    const char *path;
    mode_t mode;   /* of the directory itself, exact whatever the umask; made above it: 0755 */
    bool has_mode; /* else 0755, and a set-group-id bit that the parent hands down stays */
    bool parents;
};

/*
 * Everything made belongs to the calling thread's identity. Existing symlinks on the way are
 * followed as the kernel does; below the first directory that is made none is. An existing
 * directory is left as it is.
 *
 * Returns the directory's fd (O_PATH or readable), or -errno: -ENOTDIR when something else is in
 * the way, -ENOENT for a missing parent that wasn't to be made. *ret_created tells whether `path`
 * itself was made.
 */
int tree_mkdir(const struct tree_mkdir *request, bool *ret_created);
