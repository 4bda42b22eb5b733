/*
 * Job groups: one cgroup (v2) a job, out of a pool of emptied and reused ones, since a fresh group
 * costs a sixth of an exec. guestd itself moves to a leaf beside them, where it is not to be
 * starved by them: first, where a group with controllers may hold no processes, which is everywhere
 * but in the root; else when there is time. To move is to wait for a grace period of the kernel's
 * RCU, ten times as long as a start takes.
 *
 *   <guestd's own group>/guestd-<nonce>/self     supervisor and agent
 *   <guestd's own group>/guestd-<nonce>/jobs/N   one job
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "supervisor/pids.h"

struct group {
    char name[24];
    bool is_new;        /* the directory isn't made yet */
    bool spent;         /* not to be used again: it was killed, or has limits */
    uint64_t oom_kills; /* of earlier jobs in this group */
    struct group *next;
};

struct groups {
    int above; /* guestd's own group at the start; -1 as are the others: no cgroup v2 to write to */
    int home;  /* guestd-<nonce> */
    int jobs;  /* guestd-<nonce>/jobs */
    int proc;  /* borrowed: a directory fd of /proc */
    char name[32];
    bool has_kill;        /* cgroup.kill, Linux 5.14 */
    bool apart;           /* this guestd moved, and its agent with it */
    uint32_t controllers; /* as link_hello tells: 1 memory, 2 pids, 4 cpu */
    uint32_t made;
    unsigned n_free;
    struct group *free;
    /* Their jobs are answered, but daemons live on in them. The next to look at comes first. */
    struct group *lingering, **last_lingering;
};

/* Finds the mount through `proc` (a directory fd) and makes the groups. Moves the caller and its
 * child `agent` (0: none yet) only if they are in the way. 0 or -errno: there are none. */
int groups_init(struct groups *groups, int proc, uint64_t nonce, pid_t agent);
/* For a machine's init that is in the root cgroup of a cgroup2 at /sys/fs/cgroup: which controllers
 * there will be. 0 or -errno: it can't be foreseen. */
int groups_foresee(struct groups *groups, int proc);
/* Moves them if there are controllers, and so something to gain. 0 or -errno. */
int groups_move_apart(struct groups *groups, pid_t agent);
/* There are none. */
void groups_none(struct groups *groups);
/* Moves the caller back and removes what is empty. */
void groups_deinit(struct groups *groups);

/* A group for a job, with `alone` one that no job had or will have; NULL: none, or no memory. */
struct group *groups_take(struct groups *groups, bool alone);
/* Gives it back, whoever may still live in it. `unusable`: never again. */
void groups_give(struct groups *groups, struct group *group, bool unusable);

/* Pids of the group and of those below it are added to `ret`. 0 or -errno. */
int group_list(const struct groups *groups, const struct group *group, struct pids *ret);
bool group_populated(const struct groups *groups, const struct group *group);
/* A signal to each process but `except` (0: nobody is spared), whom it hit is added to `hit`. By
 * pidfd where there are any. SIGKILL takes the group as a whole where the kernel can. */
void group_signal(const struct groups *groups, struct group *group, int signal, pid_t except,
                  struct pids *hit);
/* OOM kills since the group's job began; -1: no memory controller. */
int group_oom_kills(const struct groups *groups, const struct group *group);
/* Nobody is left in any group. */
bool groups_empty(const struct groups *groups);
/* To what outlived its job. */
void groups_signal_lingering(const struct groups *groups, int signal);
