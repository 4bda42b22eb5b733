/*
 * The supervisor's event loop: epoll, and the deadlines. Sources live in their owners. One thread;
 * callbacks may add and remove any source, also one whose event waits in the same batch.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "supervisor/deadline.h"

#define container_of(pointer, type, member) \
    ((type *)(void *)((char *)(pointer) - __builtin_offsetof(type, member)))

struct source {
    int fd;
    bool polled;
    void (*ready)(struct source *source, uint32_t events);
};

#define LOOP_BATCH 64

struct loop {
    int epoll_fd;
    bool stop;
    bool ticking; /* programs run: measure standstills */
    bool linger;  /* bulk data moved in this round: more is about to come */
    struct deadlines deadlines;
    int64_t expected_ns; /* when the wait should end at the latest */
    int batch, at;
    struct epoll_event events[LOOP_BATCH];
};

/* 0 or -errno. */
int loop_init(struct loop *loop);
/* Level-triggered. 0 or -errno; a source that is polled already only changes its events. */
int loop_add(struct loop *loop, struct source *source, uint32_t events);
/* Forgets the source; before its fd is closed. Takes one that isn't polled too. */
void loop_remove(struct loop *loop, struct source *source);
/* Until loop->stop. */
void loop_run(struct loop *loop);
