/* The supervisor's state out of a memfd (saved.h), in the executable that comes after the one that
 * wrote it. */
#pragma once

#include <stdbool.h>

#include "supervisor/saved.h"

struct supervisor;
struct supervisor_options;
struct task;

struct resume {
    struct saved saved;
    const int32_t *fds; /* that came along … */
    bool *claimed;      /* … and which of them somebody has */
    unsigned n_fds;
    struct task *task; /* whose records come now */
    int err;           /* the first */
};

/* 0 or -errno, see saved_open. */
int resume_open(struct resume *resume, int fd);
/* What the supervisor was told at its start. 0 or -errno. */
int resume_settings(struct resume *resume, struct supervisor_options *options);
/*
 * The rest, into a supervisor whose rooms are made. `back`: the next one has refused it, and we are
 * who wrote it. 0, or -errno: then there is nothing for it but to execute the writer again, which
 * finds everything as it was.
 */
int resume_state(struct resume *resume, struct supervisor *supervisor, bool back);
/* There is no way back any more: what came along is ours alone. */
void resume_commit(struct resume *resume, struct supervisor *supervisor);
