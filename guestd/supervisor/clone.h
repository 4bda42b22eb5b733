/*
 * Starting a child that shares our memory until it execs, as vfork(2) does, but on a stack of its
 * own, into a cgroup, and with a pidfd: clone3(2). And the plain fork for kernels (and valgrind)
 * that have no clone3.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct clone {
    void (*child)(void *arg); /* must end by exec or _exit */
    void *arg;
    void *stack; /* for the child; clone_shared only */
    size_t stack_len;
    int cgroup;     /* of clone_shared: a cgroup directory to be born in; -1: none */
    pid_t *ret_pid; /* written before the child runs */
    int *ret_pidfd; /* the same; close-on-exec */
};

/* Returns when the child has exec'ed or is gone: the pid, or -errno; -ENOSYS where this can't be
 * done. */
pid_t clone_shared(const struct clone *clone);

/* Returns at once: the pid or -errno. The child waits until *ret_pid and *ret_pidfd (-1 before
 * Linux 5.3) are written. */
pid_t clone_forked(const struct clone *clone);
