/*
 * Listing a tree: pre-order, the names of each directory sorted by their bytes, one entry at a
 * time, so that who asks can stop and go on at any place and on any thread. In memory are the names
 * of the directories on the way down, nothing else.
 */
#pragma once

#include "files/descent.h"
#include "files/entry.h"

struct tree_list {
    struct entry_reader reader;
    struct descent way;
    struct level *levels; /* the names of way.steps[i] */
    size_t levels_cap;
    uint64_t depth;
    bool itself; /* depth 0: one entry, then the end */
    bool down;   /* the last entry was a directory whose names come next */
    const char *path;
};

/*
 * Opens `path` (borrowed until the close), following its final symlink. depth 0: itself; n: n
 * levels below it. Returns 0, or -errno: -ENOTDIR for what is no directory with a depth over 0.
 * Close it in any case.
 */
int tree_list_open(struct tree_list *list, const char *path, uint64_t depth);

/*
 * The next entry, valid until the next call. What vanished meanwhile is passed over; a directory
 * below `path` that may not be read is told without what is in it. Returns 1, 0 at the end, or
 * -errno.
 */
int tree_list_next(struct tree_list *list, struct entry *ret);

/* Takes a zeroed one too. */
void tree_list_close(struct tree_list *list);
