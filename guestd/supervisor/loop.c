#include "supervisor/loop.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <string.h>

/* A deadline that fires this late did not come late by load: the machine stood still. */
#define STOOD_STILL_NS (5 * SECOND_NS)
/* While programs run under a deadline the loop looks at the clock this often: it is how exactly a
 * standstill is measured. */
#define TICK_NS (2 * SECOND_NS)

#define LINGER_NS 50000
#define MAX_WAIT_MS (1 << 30)
#define MAX_WAIT_NS (MAX_WAIT_MS * MS_NS)

int loop_init(struct loop *loop) {
    memset(loop, 0, sizeof *loop);
    loop->expected_ns = INT64_MAX;
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return loop->epoll_fd < 0 ? -errno : 0;
}

int loop_add(struct loop *loop, struct source *source, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = source};
    int op = source->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0)
        return -errno;
    source->polled = true;
    return 0;
}

void loop_remove(struct loop *loop, struct source *source) {
    if (!source->polled)
        return;
    source->polled = false;
    epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
    for (int i = loop->at; i < loop->batch; i++) {
        if (loop->events[i].data.ptr == source)
            loop->events[i].data.ptr = NULL;
    }
}

/* The time, and what is late by it: if nobody looked at the clock when he should have, for longer
 * than any load explains, that span was nobody's. */
static int64_t look_at_clock(struct loop *loop) {
    int64_t now = clock_now();
    if (loop->expected_ns != INT64_MAX && now - loop->expected_ns > STOOD_STILL_NS)
        deadlines_shift(&loop->deadlines, now - loop->expected_ns);
    loop->expected_ns = now; /* the next look comes at once, unless the loop waits */
    return now;
}

static int wait_ms(struct loop *loop) {
    int64_t now = look_at_clock(loop), next = deadlines_next(&loop->deadlines);
    if (next == INT64_MAX) {
        loop->expected_ns = INT64_MAX;
        return -1;
    }
    if (loop->ticking && next > now + TICK_NS)
        next = now + TICK_NS;
    if (next <= now)
        return 0;
    loop->expected_ns = next;
    return next - now > MAX_WAIT_NS ? MAX_WAIT_MS : (int)((next - now + MS_NS - 1) / MS_NS);
}

/*
 * Stays awake for a moment behind bulk data: in a virtual machine, going to sleep and being woken
 * cost more than reading the next chunk does. Whoever else is ready runs meanwhile.
 */
static int linger(struct loop *loop) {
    int64_t until = clock_now() + LINGER_NS;
    int n;

    while ((n = epoll_wait(loop->epoll_fd, loop->events, LOOP_BATCH, 0)) == 0 &&
           clock_now() < until)
        sched_yield();
    return n;
}

/* The next batch of events: none at a deadline, or after a signal. */
static int await(struct loop *loop) {
    int ms = wait_ms(loop), n = 0;

    if (loop->linger && ms != 0)
        n = linger(loop);
    loop->linger = false;
    return n != 0 ? n : epoll_wait(loop->epoll_fd, loop->events, LOOP_BATCH, ms);
}

void loop_run(struct loop *loop) {
    while (!loop->stop) {
        loop->batch = await(loop);
        loop->at = 0; /* before the deadlines: they remove sources of this batch too */
        deadlines_fire(&loop->deadlines, look_at_clock(loop));
        while (loop->at < loop->batch) {
            struct epoll_event *event = &loop->events[loop->at++];
            struct source *source = event->data.ptr;
            if (source != NULL)
                source->ready(source, event->events);
        }
        loop->batch = 0;
    }
}
