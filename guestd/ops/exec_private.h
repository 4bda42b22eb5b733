/* What the files of `exec` share: exec.c reads the request, exec_user.c finds out who it runs as,
 * exec_answer.c follows the job until the call is answered. */
#pragma once

#include "agent/call.h"
#include "agent/inlet.h"
#include "agent/job.h"
#include "agent/outlet.h"
#include "ops/exec_limits.h"
#include "ops/params_digest.h"

/* rows 0: none was asked for. */
struct exec_pty {
    uint64_t present;
    int64_t rows, cols;
    const char *term;
};

struct exec_params {
    uint64_t present;
    const char *cmd;
    struct strv args;
    struct envs envs;
    const char *cwd;
    const char *user;
    double timeout; /* −1: not given */
    bool background;
    const char *tag;
    struct slice input;
    bool stdin_open;
    bool stream;
    int64_t window; /* −1: not given */
    int encoding;
    int64_t max_output; /* 0: not given */
    int overflow;       /* −1: not given */
    int on_full;        /* −1: not given */
    double kill_grace;
    bool kill_rest;
    const char *seccomp;
    bool no_new_privs;
    struct exec_pty pty;
    struct exec_limits limits;
    const char *key;
};

/* One exec, in its call's arena. */
struct exec {
    struct call *call;
    const struct exec_params *params;
    struct job_order order;
    uint8_t digest[PARAMS_DIGEST]; /* of the params, with a key */
    struct job_watch watch;
    struct outlet outlet;
    struct inlet inlet; /* of a foreground one whose stdin is open */
    bool cancelled, lost, finished;
};

/* ── exec_user.c ── */

/* Fills the order's user, home, shell and cwd, now or after a look at the disk; then calls
 * exec_follow, or fails the call. */
void exec_find_user(struct exec *exec);

/* ── exec_key.c ── */

/* Digests the params; false: the call was failed. */
bool exec_key_read(struct exec *exec, const struct field *fields);
/* Joins the run that the key began, or fails the call. False: no such run is known. */
bool exec_key_join(struct exec *exec);

/* ── exec_answer.c ── */

/* The order is complete: starts the job; the call is answered when it has started (background), or
 * exited. */
void exec_follow(struct exec *exec);
/* The same for a job that an earlier request started: it starts, runs or has exited. */
void exec_follow_run(struct exec *exec, struct job *job);
