/*
 * The way down a tree, one open directory a step, without an fd for every level: only the deepest
 * DESCENT_FDS steps and the first are open. The way back up goes through "..", and is believed only
 * if it leads to the directory that was left, so a tree that somebody moves meanwhile can't lead
 * the walk out of itself. Symlinks are never followed.
 *
 * Depth is bounded by memory alone: nothing here recurses, and no path is handed to the kernel
 * whole.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "files/dir.h"

#define DESCENT_FDS 32

struct step {
    struct dir dir;
    uint64_t dev, ino;
    size_t path_len; /* of descent.path up to here */
};

struct descent {
    struct step *steps; /* n ≥ 1 after descent_init */
    size_t n, cap;
    char *path; /* as text: the first step's, and the names below */
    size_t path_cap;
};

/* Starts at the directory `fd`, owned from here (closed on failure too), called `path`. Returns 0
 * or -errno. */
int descent_init(struct descent *descent, int fd, const char *path);
/* Takes a zeroed one too. */
void descent_deinit(struct descent *descent);

struct step *descent_top(struct descent *descent);

/* path + "/" + name, valid until the next call of any function here; NULL without memory. */
const char *descent_child(struct descent *descent, const char *name);

/*
 * Goes into `name` of the top. Returns 0, -errno (-ELOOP or -ENOTDIR: no directory), or, when
 * `one_file_system`, FILES_MOUNT_POINT; after anything but 0 the top is as before.
 */
int descent_down(struct descent *descent, const char *name, bool one_file_system);

/* Leaves the top for the one above; n must be over 1. -ESTALE: the directory was moved meanwhile;
 * any failure leaves a top that can't be read, only left by descent_deinit. */
int descent_up(struct descent *descent);

/* True for what must not be crossed or removed: something is mounted there, or the device is
 * another than `dev`. Returns 1, 0 or -errno; *ret_dev and *ret_ino are of the directory `fd`. */
int descent_is_mount(int fd, const uint64_t *dev_or_null, uint64_t *ret_dev, uint64_t *ret_ino);
