/*
 * The job table: what guestd started, found by pid, tag or job id. The supervisor starts, drains
 * and ends jobs; here is what clients are told of them. A job is STARTING until the supervisor says
 * that it runs, then RUNNING, then EXITED until it is forgotten; only running and exited ones are
 * found.
 *
 * Written by the job room's owner; operations go through these functions.
 */
#pragma once

#include <msgpack.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "agent/encoding.h"
#include "agent/signame.h"
#include "guestd/link.h"
#include "proto/fields.h"

struct agent;
struct call;
struct job;
struct jobs;
struct sock_filter;

/* Empty table; NULL without memory. */
struct jobs *jobs_new(struct agent *agent);
/* Unmaps and forgets all; the processes live on. Needs one more round of the loop. Takes NULL. */
struct jobs *jobs_free(struct jobs *jobs);

/* ── start ── */

#define TERMINAL_MOST 4096 /* rows, and columns */

/* What exec asked for, every default filled in. Borrowed during jobs_start. */
struct job_order {
    const char *cmd;
    const struct strv *args;
    const struct envs *envs;
    const char *cwd;
    const char *tag;     /* NULL: one is made */
    struct slice input;  /* all of stdin; data NULL: /dev/null */
    uint16_t rows, cols; /* of a terminal; 0: none */
    const char *term;    /* its TERM */

    bool set_user; /* else as guestd itself: uid, gid and groups don't count */
    uid_t uid;
    gid_t gid;
    const gid_t *groups;
    size_t n_groups;
    const char *user, *home, *shell;

    bool background, stream, kill_rest, no_new_privs, stdin_open;
    const struct sock_filter *filter;
    size_t n_filter;
    uint64_t timeout_ms; /* 0: none */
    uint32_t grace_ms;
    enum store_mode mode;
    uint64_t max_output;
    enum encoding encoding;
    uint32_t limits; /* bits, 1 << enum link_limit */
    int64_t limit[LINK_LIMIT_COUNT];
    const char *key;       /* NULL: none. One that no job has */
    const uint8_t *digest; /* of the request, FACTS_DIGEST bytes; with a key */
};

/* Who wants to know what becomes of a job. Embedded in its owner; each hook is called at most once,
 * but `output`. A hook may unwatch, itself or others. Holds a reference to the job. */
struct job_watch {
    void (*started)(struct job_watch *watch,
                    const struct failure *failure_or_null); /* with a failure nothing follows */
    void (*output)(struct job_watch *watch);                /* NULL: not interested */
    void (*exited)(struct job_watch *watch);
    struct job *job; /* NULL: not watching */
    struct job_watch *prev, *next;
};

/* Orders the start, and watches it. Returns 0, or a positive enum status with *ret_failure filled:
 * then nothing was started and no hook is called. */
int jobs_start(struct jobs *jobs, const struct job_order *order, struct job_watch *watch,
               struct failure *ret_failure);

/* A job that already exited is not told again: ask job_exited first. */
void job_watch(struct job *job, struct job_watch *watch);
/* Takes one that isn't watching too. */
void job_unwatch(struct job_watch *watch);

/* "limits.nofile" */
const char *job_limit_field(enum link_limit limit);

/* ── what is there ── */

/* The job that a request's selector names (pid 0, tag NULL: not given): the running one, else the
 * newest that exited. NULL: the call was failed. */
struct job *job_select(struct call *call, int64_t pid, const char *tag);

/* The job that a request with that key began, whatever became of it; NULL: none is remembered. */
struct job *jobs_find_key(struct jobs *jobs, const char *key);
/* Whether that request had the same digest. */
bool job_same_request(const struct job *job, const uint8_t *digest);

/* In the order of their starts. `next` of the last is NULL. */
struct job *jobs_first(struct jobs *jobs);
struct job *job_next(struct job *job);
/* Running now, and exited ones that are remembered. */
uint32_t jobs_running(const struct jobs *jobs);
uint32_t jobs_retained(const struct jobs *jobs);

bool job_running(const struct job *job);
bool job_exited(const struct job *job);
bool job_has_terminal(const struct job *job);
int32_t job_pid(const struct job *job);
const char *job_tag(const struct job *job);
enum encoding job_encoding(const struct job *job);
/* The bytes of a stream so far (c: 0 stdout or the terminal, 1 stderr). */
uint64_t job_end(const struct job *job, unsigned c);
/* What the protocol calls it; NULL: the job doesn't have it. */
const char *job_channel(const struct job *job, unsigned c);
/* False: its stdin was never open. `ret`: bytes of it that were taken so far. */
bool job_stdin_taken(const struct job *job, uint64_t *ret);

/* ── telling a client ── */

/* The record, as one map. */
void job_pack_record(const struct job *job, msgpack_packer *pk);
void job_reply_record(const struct job *job, struct call *call);
/* The result of one that exited; with `output` also stdout and stderr, now or when it is their
 * turn: the job stays as long. Fails the call `too_large` when the client's max_frame can't hold
 * them. */
void job_reply_result(struct job *job, struct call *call, bool output, enum encoding encoding);
/* The result behind a stream of the output. `gapped`: some of it was told as a gap. */
void job_reply_streamed(struct job *job, struct call *call, bool gapped);
/* The most bytes of each stream that a result in that encoding can carry to this client. */
uint64_t job_output_fits(struct call *call, enum encoding encoding);

/* ── orders ── */

/* A foreground exec waits for its end, as its start or by joining it with a key. */
void job_call(struct job *job);
/* It waits no longer. `lost`: its connection is gone, so that the job is cancelled if nobody else
 * waits. */
void job_hang_up(struct job *job, bool lost);

/* SIGTERM, grace, SIGKILL to the whole tree, and the reason becomes `cancelled`. Nothing waits for
 * a reader any more. One that only starts is ended as soon as it has. */
void job_cancel(struct job *job);
/* Whoever started it reads no more: its store drops the oldest bytes from now on and never makes it
 * wait. */
void job_detach(struct job *job);
/* The terminal's size. Answers the call: {}, not_found, or invalid_request where there is none. */
void job_resize(struct job *job, struct call *call, uint16_t rows, uint16_t cols);
/* Somebody attaches to it: one whose opener an agent's death took waits for it no longer. */
void job_attended(struct job *job);
/* Its opener is back after an agent's death: its store goes on waiting. */
void job_adopt(struct job *job);
/* process.input: answers {off} when the supervisor has the bytes. `off` −1: behind all others.
 * `data` stays until the call is answered. */
void job_input(struct job *job, struct call *call, struct slice data, int64_t off);
/* process.close_stdin */
void job_close_stdin(struct job *job, struct call *call);
/* process.forget: answers {}, or busy while it runs. Who reads its output goes on reading. */
void job_forget(struct job *job, struct call *call);
/* Answers the call: {} or not_found. */
void job_signal(struct job *job, struct call *call, int number, enum link_scope scope);
