#include "supervisor/apart.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "supervisor/deadline.h"

#define STACK_BYTES (64u << 10)
#define BEGUN_NS (50 * MS_NS)

static atomic_uint closing;

static void *run(void *fd) {
    close((int)(intptr_t)fd);
    closing--;
    return NULL;
}

/*
 * Until the number is free: the first thing that close(2) does, before it may wait. A child made
 * before that would hold the file too, and wait for it in its exec. A busy machine, or a thread
 * that takes the number at once, must not keep us for long.
 */
static void await_begin(int fd) {
    for (int64_t until = clock_now() + BEGUN_NS; fcntl(fd, F_GETFD) >= 0 && clock_now() < until;)
        sched_yield();
}

void close_apart(int fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    closing++;
    if (pthread_create(&thread, &attributes, run, (void *)(intptr_t)fd) == 0)
        await_begin(fd);
    else
        closing--;
    pthread_attr_destroy(&attributes);
}

unsigned apart_closing(void) {
    return closing;
}
