#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/remover.h"

/* A tree that is smaller is gone before a thread has begun. */
#define HELP_FROM 512
#define STACK (256u << 10)

struct helper {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    enum {
        IDLE,
        BUSY,
        STOPPING,
    } state;
    /* Of what was taken last; the helper's own while BUSY. */
    int dir;
    char *dir_path;
    char name[NAME_MAX + 1];
    const _Atomic bool *cancelled;
    struct tree_removal result;
    size_t step; /* whose child it is; 0: what came of it is counted already */
};

/* As the same user: a thread begins with the identity of the one that makes it. */
static void *help(void *arg) {
    struct helper *helper = arg;

    pthread_mutex_lock(&helper->lock);
    for (;;) {
        while (helper->state == IDLE)
            pthread_cond_wait(&helper->changed, &helper->lock);
        if (helper->state == STOPPING)
            break;
        pthread_mutex_unlock(&helper->lock);
        struct remover remover = {.cancelled = helper->cancelled, .result = &helper->result};
        int r = remover_run(&remover, helper->dir, helper->dir_path, helper->name, true);
        if (r < 0 && !helper->result.failed) {
            helper->result.failed = 1;
            helper->result.reason = r;
        }
        pthread_mutex_lock(&helper->lock);
        helper->state = IDLE;
        pthread_cond_broadcast(&helper->changed);
    }
    pthread_mutex_unlock(&helper->lock);
    return NULL;
}

static bool worth_it(const struct remover *remover) {
    cpu_set_t cpus;

    return remover->result->removed >= HELP_FROM &&
           sched_getaffinity(0, sizeof(cpus), &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

static struct helper *start(const struct remover *remover) {
    struct helper *helper = calloc(1, sizeof(*helper));
    pthread_attr_t attr;

    if (!helper)
        return NULL;
    helper->cancelled = remover->cancelled;
    pthread_mutex_init(&helper->lock, NULL);
    pthread_cond_init(&helper->changed, NULL);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK);
    int r = pthread_create(&helper->thread, &attr, help, helper);
    pthread_attr_destroy(&attr);
    if (r == 0)
        return helper;
    free(helper);
    return NULL;
}

/* Adds what came of the last one. The helper is IDLE and the lock held. */
static void count(struct remover *remover) {
    struct helper *helper = remover->helper;
    struct tree_removal *result = &helper->result;

    if (!helper->step)
        return;
    remover->result->removed += result->removed;
    if (result->failed) {
        remover_fail(remover, helper->step, result->reason, result->path);
        remover->result->failed += result->failed - 1;
    }
    tree_removal_deinit(result);
    *result = (struct tree_removal){0};
    free(helper->dir_path);
    helper->dir_path = NULL;
    helper->step = 0;
}

static bool give(struct remover *remover, const char *name) {
    struct helper *helper = remover->helper;
    struct step *top = descent_top(&remover->way);

    count(remover);
    helper->dir_path = strndup(remover->way.path, top->path_len ? top->path_len : 1);
    helper->dir = helper->dir_path ? fcntl(top->dir.fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (helper->dir < 0) {
        free(helper->dir_path);
        helper->dir_path = NULL;
        return false;
    }
    strcpy(helper->name, name);
    helper->step = remover->way.n;
    helper->state = BUSY;
    pthread_cond_broadcast(&helper->changed);
    return true;
}

bool helper_take(struct remover *remover, const char *name) {
    bool taken = false;

    /* What is removed itself has nobody above it who would wait. */
    if (remover->way.n < 2 || strlen(name) > NAME_MAX)
        return false;
    if (!remover->helper) {
        if (!worth_it(remover))
            return false;
        remover->helper = start(remover);
        remover->may_help = remover->helper;
    }
    struct helper *helper = remover->helper;
    if (!helper)
        return false;
    pthread_mutex_lock(&helper->lock);
    if (helper->state == IDLE)
        taken = give(remover, name);
    pthread_mutex_unlock(&helper->lock);
    return taken;
}

void helper_settle(struct remover *remover, size_t n) {
    struct helper *helper = remover->helper;

    if (helper->step != n)
        return;
    pthread_mutex_lock(&helper->lock);
    while (helper->state == BUSY)
        pthread_cond_wait(&helper->changed, &helper->lock);
    count(remover);
    pthread_mutex_unlock(&helper->lock);
}

void helper_end(struct remover *remover) {
    struct helper *helper = remover->helper;

    if (!helper)
        return;
    if (helper->step)
        helper_settle(remover, helper->step);
    pthread_mutex_lock(&helper->lock);
    helper->state = STOPPING;
    pthread_cond_broadcast(&helper->changed);
    pthread_mutex_unlock(&helper->lock);
    pthread_join(helper->thread, NULL);
    pthread_cond_destroy(&helper->changed);
    pthread_mutex_destroy(&helper->lock);
    free(helper);
    remover->helper = NULL;
}
