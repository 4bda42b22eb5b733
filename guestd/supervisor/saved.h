/*
 * The supervisor's state on its way to another executable: what is in the memfd between the two,
 * how it is written and read. save.c fills it, resume.c lives on from it.
 *
 * A head whose shape never changes, then records: a header, and a struct below or plain bytes,
 * padded to 8. Host byte order: both ends are on one kernel. So that builds of different versions
 * can hand over to each other,
 *
 * - a struct only grows at its end: what an older writer doesn't have reads as zeros, and zero
 * means "as before that was there". SAVED_VERSION goes up then.
 * - a type of record that a reader doesn't know is skipped, and the fds that only it names are
 *   closed; unless it bears SAVED_MUST: then the state can't be read.
 * - `least` of the head is the oldest reader's version that understands what is told here.
 *
 * Times are CLOCK_MONOTONIC nanoseconds, 0: none. Fds keep their numbers across the exec, and none
 * of them is below 3: those read as none. Each is listed in SAVED_FDS, and named by one record.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "link.h"

#ifndef SAVED_VERSION /* a test builds a guestd of another one */
#define SAVED_VERSION 1
#endif
#define SAVED_LEAST 1 /* a reader's version, for what this build writes */
#define SAVED_MAGIC 0x67737376u

struct saved_head {
    uint32_t magic;     /* SAVED_MAGIC */
    uint32_t version;   /* SAVED_VERSION of the writer */
    uint32_t least;     /* SAVED_LEAST of the writer */
    int32_t executable; /* fd of the writer's file: who can't go on executes that */
    int32_t pid;        /* whose state it is */
    uint32_t pad;
    uint64_t size; /* of all */
    char build[32];
};

enum saved_type {
    SAVED_END, /* the last one */
    SAVED_FDS, /* int32_t each, rising */
    SAVED_SUPERVISOR,
    SAVED_SETTINGS,
    SAVED_CONFIG,   /* struct link_config */
    SAVED_LISTENER, /* each, in order */
    SAVED_UPGRADE,
    SAVED_GROUPS,
    SAVED_GROUP,   /* of those that no task has */
    SAVED_ORPHANS, /* struct saved_orphan each */
    SAVED_TASK,    /* each, in the order of birth; what follows is its, up to the next */
    SAVED_STORE,
    SAVED_RESULT, /* struct link_result */
    SAVED_TASK_GROUP,
    SAVED_HIT,   /* int32_t each: pids */
    SAVED_ALIVE, /* the same */
    SAVED_INPUT,
    SAVED_INPUT_BYTES, /* what waits, from here … */
    SAVED_INPUT_END,   /* … and an end behind it */
};

struct saved_record {
    uint16_t type;
    uint16_t flags; /* SAVED_MUST */
    uint32_t len;   /* of what follows, without the padding */
};
#define SAVED_MUST 1u

struct saved_supervisor {
    int32_t proc, null;
    uint64_t nofile_soft, nofile_hard; /* the original ones */
    uint64_t job_nonce;
    int64_t started_boot_ns; /* CLOCK_BOOTTIME */
    double last_active_at;   /* unix seconds */
    uint64_t reaped_orphans, processes_started;
    uint64_t generation; /* of agents */
    uint64_t program;    /* the job of PROGRAM, while it runs; 0: none */
    uint32_t reexecs;
    uint32_t pad;
    char name[16]; /* as ps(1) shows it */
};

/* struct supervisor_options, without what is only for the start. */
struct saved_settings {
    uint64_t max_jobs, output_total, stdin_buffer, stdin_total;
    uint32_t adoption_ms, grace_ms;
    uint32_t is_init;
    uint32_t pad;
};

struct saved_listener {
    int32_t fd;
    uint32_t pad;
    struct link_listener told;
};

/* As the next one finds it. */
struct saved_upgrade {
    int32_t own;        /* the file that it is executed from */
    int32_t before;     /* trying: the supervisor's before */
    int32_t executable; /* the agents' */
    int32_t candidate;  /* trying: the next agent's */
    uint32_t trying;    /* bool; may be the same file as `own` is */
    uint32_t state;     /* enum link_upgrade_state of the last one */
    double at;          /* unix seconds */
};

struct saved_groups {
    int32_t above, home, jobs;
    uint32_t controllers;
    uint32_t made;
    uint32_t has_kill;
    char name[32];
};

enum saved_group_flags {
    SAVED_GROUP_SPENT = 1 << 0,
    SAVED_GROUP_LINGERING = 1 << 1, /* else it is free */
};
struct saved_group {
    char name[24];
    uint32_t flags;
    uint32_t pad;
    uint64_t oom_kills;
};

struct saved_orphan {
    int32_t pid;
    uint32_t pad;
    int64_t seen_ns;
};

enum saved_task_state {
    SAVED_RUNNING = 1,
    SAVED_REAPED,
    SAVED_ANSWERED,
    SAVED_FORGOTTEN, /* has no SAVED_STORE */
};
enum saved_task_flags {
    SAVED_TASK_WAITED_OUT = 1 << 0,
    SAVED_TASK_KILLING = 1 << 1,
};
struct saved_task {
    uint64_t job;
    uint32_t state; /* enum saved_task_state */
    uint32_t spawn; /* enum link_spawn_flags */
    uint32_t grace_ms;
    uint32_t flags; /* enum saved_task_flags */
    uint64_t timeout_ms;
    int32_t pid;
    int32_t pidfd;
    int32_t pipe[2];
    uint64_t must_read[2];
    double started_at; /* unix seconds */
    int64_t started_ns, reaped_ns, orphaned_ns, killing_ns;
    int64_t timeout_due, sweep_due, settle_due;
    int64_t sweep_ns;
    uint64_t signals;
    uint32_t ending; /* enum link_reason */
    uint32_t pad;
};

enum saved_store_flags {
    SAVED_STORE_WRITTEN = 1 << 0, /* more may come: it is mapped, and sealed then */
};
struct saved_store {
    int32_t fd;
    uint32_t flags;
    uint64_t mapped;
    uint64_t facts_at;
    uint32_t facts_len;
    uint32_t pad;
    struct saved_channel {
        uint64_t end, oldest, acked;
        uint64_t at, size, kill_over;
        uint32_t mode; /* enum store_mode */
        uint32_t eof;
    } channel[2];
};

enum saved_input_flags {
    SAVED_INPUT_TERMINAL = 1 << 0,
    SAVED_INPUT_COUNTED = 1 << 1,
    SAVED_INPUT_LINE_OPEN = 1 << 2,
    SAVED_INPUT_CLOSED = 1 << 3,
};
struct saved_input {
    int32_t fd;
    uint32_t flags;
    uint32_t ends;
    uint32_t pad;
    uint64_t taken, written;
};

/* ── writing ── */

struct saved_writer {
    int file; /* memfd */
    size_t len;
    int32_t *fds;
    unsigned n_fds, fds_room;
    int err; /* the first; nothing more is written then */
};

void saved_begin(struct saved_writer *writer, int32_t executable);
void saved_put(struct saved_writer *writer, enum saved_type type, const void *bytes, size_t len);
/* Notes it for SAVED_FDS, and returns it. */
int32_t saved_fd(struct saved_writer *writer, int fd);
/* The memfd, the caller's now, or -errno. */
int saved_finish(struct saved_writer *writer);
/* Takes one whose file is -1 too. */
void saved_writer_deinit(struct saved_writer *writer);

/* ── reading ── */

struct saved {
    const uint8_t *bytes; /* mapped */
    size_t len;
    struct saved_head head;
};

struct saved_item {
    enum saved_type type;
    const void *bytes;
    uint32_t len;
};

/*
 * Maps what is in the memfd, and looks it through: whether it is whole, and all of it for this
 * build to understand. 0, -EBADMSG, or -EPROTONOSUPPORT; but the head is there, and its
 * `executable` what it says, unless the result is -EINVAL: this is no such file at all.
 */
int saved_open(struct saved *saved, int fd);
/* The item after this one; begin with a zeroed one. False: that was the last. */
bool saved_next(const struct saved *saved, struct saved_item *item);
/* Into a struct of ours, cut to what it has, or filled with zeros. */
void saved_get(const struct saved_item *item, void *into, size_t size);
void saved_close(struct saved *saved);
