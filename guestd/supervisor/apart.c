#include "supervisor/apart.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
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

/* Marks what is handed over: everything else of ours is closed by an exec. */
static void mark(int fd, bool ours) {
    fcntl(fd, F_SETFD, ours ? FD_CLOEXEC : 0);
}

static bool is_marked(int fd) {
    return fcntl(fd, F_GETFD) == 0;
}

static void start(int fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    closing++;
    mark(fd, false);
    if (pthread_create(&thread, &attributes, run, (void *)(intptr_t)fd) != 0) {
        mark(fd, true);
        closing--;
    }
    pthread_attr_destroy(&attributes);
}

/*
 * Until the numbers are free, which is the first thing that close(2) does, before it may wait: a
 * child that is made before would hold the file too, and wait for it in its exec. By then another
 * thread may have such a number for a file of ours. A busy machine must not keep us for long.
 */
static void await_begin(const int *fds, unsigned count) {
    int64_t until = clock_now() + BEGUN_NS;
    for (unsigned i = 0; i < count; i++) {
        while (is_marked(fds[i]) && clock_now() < until)
            sched_yield();
    }
}

void close_apart(const int *fds, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        start(fds[i]);
    await_begin(fds, count);
}

unsigned apart_closing(void) {
    return closing;
}
