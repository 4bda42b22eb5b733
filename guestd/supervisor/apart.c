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
#define LOOKS 20

static atomic_uint started, begun, closing;

static void *run(void *fd) {
    begun++;
    close((int)(intptr_t)fd);
    closing--;
    return NULL;
}

static void start(int fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    closing++;
    if (pthread_create(&thread, &attributes, run, (void *)(intptr_t)fd) == 0)
        started++;
    else
        closing--;
    pthread_attr_destroy(&attributes);
}

/*
 * Until the numbers are free, which is the first thing that close(2) does, before it may wait: a
 * child that is made before would hold the file too, and wait for it in its exec. A busy machine
 * must not keep us for long, nor a thread that takes a number again at once.
 */
static void await_begin(const int *fds, unsigned count) {
    for (int64_t until = clock_now() + BEGUN_NS; begun != started && clock_now() < until;)
        sched_yield();
    for (unsigned i = 0; i < count; i++) {
        for (int looks = 0; looks < LOOKS && fcntl(fds[i], F_GETFD) >= 0; looks++)
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
