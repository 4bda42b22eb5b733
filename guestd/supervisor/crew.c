#include "supervisor/crew.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define IDLE_NS (10 * SECOND_NS)
#define STACK_BYTES (128u << 10)

struct worker {
    struct crew *crew;
    pthread_t thread;
    sem_t go;
    struct chore *chore; /* NULL with `go`: end */
    int64_t idle_since;
    struct worker *next;
};

static void *work(void *arg) {
    struct worker *worker = arg;
    struct crew *crew = worker->crew;
    for (;;) {
        while (sem_wait(&worker->go) != 0)
            ;
        struct chore *chore = worker->chore;
        if (chore == NULL)
            break;
        chore->run(chore);
        struct chore *head = atomic_load_explicit(&crew->finished, memory_order_relaxed);
        do {
            chore->next = head;
        } while (!atomic_compare_exchange_weak(&crew->finished, &head, chore));
        uint64_t one = 1;
        ssize_t ignored = head == NULL ? write(crew->wake.fd, &one, sizeof one) : 0;
        (void)ignored;
    }
    sem_destroy(&worker->go);
    free(worker);
    return NULL;
}

static struct worker *hire(struct crew *crew) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (worker == NULL)
        return NULL;
    worker->crew = crew;
    sem_init(&worker->go, 0, 0);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    int err = pthread_create(&worker->thread, &attributes, work, worker);
    pthread_attr_destroy(&attributes);
    if (err != 0) {
        sem_destroy(&worker->go);
        free(worker);
        return NULL;
    }
    crew->threads++;
    return worker;
}

static void hand_over(struct crew *crew, struct worker *worker, struct chore *chore) {
    worker->next = crew->busy;
    crew->busy = worker;
    worker->chore = chore;
    chore->worker = worker;
    chore->started_ns = clock_now();
    sem_post(&worker->go);
}

int crew_submit(struct crew *crew, struct chore *chore) {
    chore->next = NULL;
    chore->started_ns = 0;
    struct worker *worker = crew->idle;
    if (worker != NULL)
        crew->idle = worker->next;
    else if (crew->threads < crew->most)
        worker = hire(crew);
    if (worker != NULL) {
        hand_over(crew, worker, chore);
        return 0;
    }
    if (crew->threads == 0)
        return -EAGAIN;
    *crew->last = chore;
    crew->last = &chore->next;
    return 0;
}

struct chore *crew_take_back(struct crew *crew) {
    struct chore *chore = crew->first;
    if (chore == NULL)
        return NULL;
    crew->first = chore->next;
    if (crew->first == NULL)
        crew->last = &crew->first;
    return chore;
}

/* The thread of a finished chore takes the next one, or a rest. */
static void relieve(struct crew *crew, struct worker *worker) {
    struct worker **at = &crew->busy;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    struct chore *next = crew_take_back(crew);
    if (next != NULL) {
        hand_over(crew, worker, next);
        return;
    }
    worker->idle_since = clock_now();
    worker->next = crew->idle;
    crew->idle = worker;
    if (!crew->dismiss.armed)
        deadline_arm(&crew->loop->deadlines, &crew->dismiss, worker->idle_since + IDLE_NS);
}

/* It frees itself. */
static pthread_t end(struct crew *crew, struct worker *worker) {
    pthread_t thread = worker->thread;
    crew->threads--;
    worker->chore = NULL;
    sem_post(&worker->go);
    return thread;
}

static void on_dismiss(struct deadline *deadline) {
    struct crew *crew = container_of(deadline, struct crew, dismiss);
    int64_t now = clock_now(), next = INT64_MAX;
    for (struct worker **at = &crew->idle; *at != NULL;) {
        struct worker *worker = *at;
        if (worker->idle_since + IDLE_NS > now) {
            if (worker->idle_since + IDLE_NS < next)
                next = worker->idle_since + IDLE_NS;
            at = &worker->next;
            continue;
        }
        *at = worker->next;
        pthread_detach(end(crew, worker));
    }
    if (next != INT64_MAX)
        deadline_arm(&crew->loop->deadlines, &crew->dismiss, next);
}

static void on_finished(struct source *source, uint32_t events) {
    struct crew *crew = container_of(source, struct crew, wake);
    uint64_t count;
    ssize_t ignored = read(source->fd, &count, sizeof count);
    (void)ignored;
    struct chore *newest = atomic_exchange(&crew->finished, NULL), *oldest = NULL;
    while (newest != NULL) {
        struct chore *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        struct chore *chore = oldest;
        oldest = chore->next;
        relieve(crew, chore->worker);
        chore->done(chore);
    }
}

void crew_deinit(struct crew *crew) {
    while (crew->idle != NULL) {
        struct worker *worker = crew->idle;
        crew->idle = worker->next;
        pthread_join(end(crew, worker), NULL);
    }
}

int64_t crew_stuck_at(const struct crew *crew, int64_t span_ns) {
    if (crew->idle != NULL || crew->threads < crew->most)
        return INT64_MAX;
    int64_t latest = 0;
    for (const struct worker *worker = crew->busy; worker != NULL; worker = worker->next) {
        if (worker->chore->started_ns > latest)
            latest = worker->chore->started_ns;
    }
    return latest + span_ns;
}

bool crew_any(const struct crew *crew, bool (*is)(const struct chore *chore)) {
    for (const struct worker *worker = crew->busy; worker != NULL; worker = worker->next) {
        if (is(worker->chore))
            return true;
    }
    return false;
}

bool crew_is_quiet(const struct crew *crew) {
    return crew->busy == NULL && crew->first == NULL;
}

int64_t crew_oldest(const struct crew *crew) {
    int64_t oldest = INT64_MAX;
    for (const struct worker *worker = crew->busy; worker != NULL; worker = worker->next) {
        if (worker->chore->started_ns < oldest)
            oldest = worker->chore->started_ns;
    }
    return oldest;
}

int crew_init(struct crew *crew, struct loop *loop, unsigned most) {
    memset(crew, 0, sizeof *crew);
    crew->loop = loop;
    crew->most = most;
    crew->last = &crew->first;
    crew->dismiss.fire = on_dismiss;
    crew->wake =
        (struct source){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), .ready = on_finished};
    return crew->wake.fd < 0 ? -errno : loop_add(loop, &crew->wake, EPOLLIN);
}
