/*
 * The environment and the search of a program that is to be started (`envs` and `cmd` of exec;
 * PROTOCOL.md, "Processes"). Both are appended to a buffer as NUL-terminated strings, as the spec
 * of the link wants them.
 */
#pragma once

#include <msgpack.h>
#include <stdint.h>

#include "proto/fields.h"

#define CHILDENV_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

/* Where the variables come from, later ones win: the usual PATH, `own`, then these as they stand
 * here. */
struct childenv {
    const char *const *own; /* NAME=VALUE, NULL at the end */
    const char *home, *user, *shell;
    const char *term; /* NULL: no terminal */
    const struct envs *envs;
    const char *mark; /* the value of GUESTD_JOB, NULL: none */
};

/* Appends NAME=VALUE strings in the order of their names. *ret_path is the PATH among them
 * (borrowed from `in`), or the usual one if the child has none. Returns 0 or -ENOMEM. */
int childenv_append(const struct childenv *in, msgpack_sbuffer *out, uint32_t *ret_n,
                    const char **ret_path);

/*
 * Appends the paths that execvp(3) would try for `cmd`: itself when there is a slash in it, else
 * one for each part of `path`; an empty part is the working directory. Returns how many;
 * -E2BIG when `out` grows over LINK_SPEC_MAX; -ENOMEM.
 */
int childenv_candidates(const char *cmd, const char *path, msgpack_sbuffer *out);
