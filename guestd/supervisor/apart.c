#include "supervisor/apart.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#define STACK_BYTES (64u << 10)

static atomic_uint closing;

static void *run(void *fd) {
    close((int)(intptr_t)fd);
    closing--;
    return NULL;
}

void close_apart(int fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    closing++;
    if (pthread_create(&thread, &attributes, run, (void *)(intptr_t)fd) != 0)
        closing--;
    pthread_attr_destroy(&attributes);
}

unsigned apart_closing(void) {
    return closing;
}
