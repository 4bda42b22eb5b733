/*
 * A birth: one program started, from the spec to its exec, on a spawn thread (the caller of
 * birth_run waits for the exec). The main loop fills the first half, lends it to a thread, and
 * reads the second half when it is done; of a birth that is under way it may read only `pid`,
 * `pidfd`, and `spec`, of which both only read what it came as.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "supervisor/bounds.h"
#include "supervisor/spec.h"
#include "supervisor/store.h"

/* What every birth shares; never changes once programs run. */
struct nursery {
    int proc;             /* /proc, or -1 */
    int null;             /* what a program without stdin reads */
    int groups;           /* the directory that job groups are made in, or -1 */
    uint32_t controllers; /* that these have, as link_hello tells them */
    bool no_clone3;
    bool no_clone_into; /* a group, that is */
    bool set_oom_score;
    struct rlimit nofile; /* the original one */
};

struct birth {
    const struct nursery *nursery;
    uint64_t job;
    uint32_t flags; /* enum link_spawn_flags */
    uint32_t uid, gid;
    uint64_t size[2];
    uint32_t mode[2];
    uint16_t rows, cols;     /* of a terminal */
    struct spec_source spec; /* the main loop's, which shows it to a new agent */
    int input;               /* memfd; closed by birth_run. -1: none */
    char group[24];          /* directory name under nursery->groups; empty: none */
    bool group_is_new;       /* it has to be made first */
    struct bounds bounds;

    _Atomic(pid_t) pid; /* 0 until there is a child */
    _Atomic int pidfd;  /* -1 as long */
    int err; /* positive errno: it did not start; a child that was made is gone or about to be */
    uint32_t stage;      /* enum link_stage */
    bool group_unusable; /* the group would not take the child: don't use it again */
    int in;              /* writing end of an open stdin, or a terminal's master; -1: none */
    int out[2];          /* reading ends of stdout, or a terminal's master, and stderr; -1: none */
    struct store store;
    int64_t started_ns; /* CLOCK_MONOTONIC */
    double started_at;  /* unix seconds */
};

/* Leaves in `birth` either a running program with pipes and store, or err and stage with nothing
 * open but the pidfd. */
void birth_run(struct birth *birth);

/* ── birth_group.c ── */

/* The group's directory, made and bounded if need be, in *ret_fd. -1 there: none, or it can't be
 * had (the program then runs without). 0 or -errno. */
int birth_open_group(struct birth *birth, int *ret_fd);
/* There is no group to be had, by `err`: 0 where the program can do without, else err, and the
 * stage says which limit needs one. */
int birth_without_group(struct birth *birth, int err);
bool birth_lacks_resources(int err);
