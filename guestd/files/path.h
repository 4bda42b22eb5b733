/*
 * Paths and the directory they end in. Everything later is done relative to an open directory, so
 * that what was checked is what is changed. Leading symlinks are followed by the kernel, with its
 * rules; what this room walks below never is.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* The last component; "/" for "/". Points into path. */
const char *path_name(const char *path);

/* How long `path` is without its last component and the slash before it; 1 for "/x" and "/". */
size_t path_parent_len(const char *path);

/* Opens the directory that holds the last component, O_PATH. Returns the fd or -errno. */
int path_open_parent(const char *path);

/* Where a path ends when its final symlinks are followed too: a place that can be created in or
 * renamed to. */
struct place {
    int dir;                 /* O_PATH, owned */
    char name[NAME_MAX + 1]; /* no symlink when it was looked at */
    bool exists;             /* then st holds */
    bool magic; /* name is a symlink of /proc that only the kernel can follow; st is of what it
                   leads to */
    struct stat st;
};

/*
 * Finds it. The kernel is asked first, so that its refusals hold (a symlink in a sticky directory,
 * a loop). A dangling symlink leads to the file it would create.
 *
 * Returns 0, or -errno (-ENOENT: a directory above it is missing) and nothing to release.
 */
int place_find(const char *path, struct place *ret);
void place_deinit(struct place *place);
