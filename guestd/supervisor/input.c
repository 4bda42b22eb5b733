#include "supervisor/input.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define CHUNK_LEAST 4096u /* many small inputs share one */

/* Bytes to be written one after the other, and then, maybe, the end. */
struct input_chunk {
    struct input_chunk *next;
    uint32_t at, len, cap;
    bool ends;
    uint8_t bytes[];
};

void input_init(struct input *input) {
    *input = (struct input){.source.fd = -1};
    input->last = &input->first;
}

static struct input_budget *budget(struct task *task) {
    return &task->supervisor->inputs;
}

/* ── what waits ── */

static void drop_first(struct task *task) {
    struct input *input = &task->input;
    struct input_chunk *chunk = input->first;
    input->first = chunk->next;
    if (input->first == NULL)
        input->last = &input->first;
    input->held -= chunk->cap;
    budget(task)->held -= chunk->cap;
    free(chunk);
}

static struct input_chunk *last_chunk(struct input *input) {
    return input->first != NULL ? container_of(input->last, struct input_chunk, next) : NULL;
}

static struct input_chunk *add_chunk(struct task *task, size_t least) {
    struct input *input = &task->input;
    struct input_budget *all = budget(task);
    uint32_t cap = least > CHUNK_LEAST ? (uint32_t)least : CHUNK_LEAST;
    /* An agent that sends an end behind each byte gets no more memory by that. */
    if ((all->most > 0 && all->held + cap > all->most) ||
        (all->most_each > 0 && input->held + cap > 2 * all->most_each + LINK_INPUT_MAX))
        return NULL;
    struct input_chunk *chunk = malloc(sizeof *chunk + cap);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct input_chunk){.cap = cap};
    *input->last = chunk;
    input->last = &chunk->next;
    input->held += cap;
    all->held += cap;
    return chunk;
}

/* All of it or nothing. 0 or -ENOMEM. */
static int keep(struct task *task, const uint8_t *bytes, size_t len, bool ends) {
    struct input_chunk *chunk = last_chunk(&task->input);
    size_t room = chunk != NULL && !chunk->ends ? chunk->cap - chunk->len : 0;
    size_t here = len < room ? len : room;
    struct input_chunk *more = chunk;
    if (len > here || chunk == NULL || (chunk->ends && !ends))
        more = add_chunk(task, len - here);
    if (more == NULL)
        return -ENOMEM;
    if (here > 0)
        memcpy(chunk->bytes + chunk->len, bytes, here), chunk->len += (uint32_t)here;
    if (len > here)
        memcpy(more->bytes + more->len, bytes + here, len - here),
            more->len += (uint32_t)(len - here);
    more->ends |= ends;
    return 0;
}

/* ── writing ── */

/* A pipe without readers raises SIGPIPE, which is blocked here as every signal is: it must not stay
 * pending either. */
static void forget_sigpipe(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    while (sigtimedwait(&set, NULL, &(struct timespec){0}) < 0 && errno == EINTR)
        ;
}

static ssize_t put(struct input *input, const void *bytes, size_t len) {
    ssize_t n;
    do
        n = write(input->source.fd, bytes, len);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        input->line_open = ((const uint8_t *)bytes)[n - 1] != '\n';
    if (n >= 0)
        return n;
    int err = errno;
    if (err == EPIPE)
        forget_sigpipe();
    return -err;
}

static void shut(struct task *task) {
    struct input *input = &task->input;
    if (input->source.fd >= 0) {
        loop_remove(&task->supervisor->loop, &input->source);
        close(input->source.fd);
        input->source.fd = -1;
    }
    if (input->counted)
        budget(task)->fds--;
    input->counted = false;
    while (input->first != NULL)
        drop_first(task);
    input->closed = input->open;
}

/*
 * VEOF as it is set now. Where lines are edited it ends a read at once, and one of no bytes is the
 * end: behind an unfinished line it takes two. 0 (it may be disabled) or -errno.
 */
static int put_veof(struct input *input) {
    struct termios termios;
    if (tcgetattr(input->source.fd, &termios) < 0)
        return -errno;
    const cc_t veof = termios.c_cc[VEOF];
    if (veof == _POSIX_VDISABLE)
        return 0;
    for (bool again = true; again;) {
        again = input->line_open && (termios.c_lflag & ICANON) != 0;
        ssize_t n = put(input, &veof, 1);
        if (n < 0)
            return (int)n;
        input->line_open = false;
    }
    return 0;
}

/* The next of what waits. 0: it is out; -EAGAIN; another -errno, or 1: the end. */
static int put_first(struct task *task) {
    struct input *input = &task->input;
    struct input_chunk *chunk = input->first;
    while (chunk->at < chunk->len) {
        ssize_t n = put(input, chunk->bytes + chunk->at, chunk->len - chunk->at);
        if (n < 0)
            return (int)n;
        chunk->at += (uint32_t)n;
        input->written += (uint64_t)n;
    }
    if (chunk->ends && !input->terminal)
        return 1;
    int err = chunk->ends ? put_veof(input) : 0;
    if (err < 0)
        return err;
    drop_first(task);
    return 0;
}

/* Until there is room. A terminal that nobody has open at the moment is hung up all the time: only
 * what changes counts there. */
static int watch(struct task *task) {
    struct input *input = &task->input;
    if (input->terminal && input->source.polled)
        return 0;
    return loop_add(&task->supervisor->loop, &input->source,
                    input->terminal ? EPOLLOUT | EPOLLET : EPOLLOUT);
}

/* As much as the program's side takes. */
static void push(struct task *task) {
    struct input *input = &task->input;
    int result = 0;
    while (input->first != NULL && result == 0)
        result = put_first(task);
    if (result == -EAGAIN)
        result = watch(task);
    else if (result == 0)
        loop_remove(&task->supervisor->loop, &input->source);
    if (result != 0)
        shut(task);
}

static void tell(struct task *task) {
    task_owe(task, OWED_TAKEN);
    tell_owed(task->supervisor);
}

/* A write to a terminal ends by waking whoever polls for room, even one that found none, and a
 * hang-up is all that is seen then: another write would go round for ever. */
static void on_writable(struct source *source, uint32_t events) {
    struct task *task = container_of(source, struct task, input.source);
    if (task->input.terminal && (events & EPOLLOUT) == 0)
        return;
    push(task);
    tell(task);
    task_settle(task);
}

/* ── its life ── */

void input_expect(struct task *task) {
    task->input.counted = true;
    budget(task)->fds++;
}

void input_begin(struct task *task, int fd, bool terminal) {
    struct input *input = &task->input;
    input->source = (struct source){.fd = fd, .ready = on_writable};
    input->open = true;
    input->terminal = terminal;
}

static int take_bytes(struct task *task, const uint8_t *bytes, size_t len, bool ends) {
    struct input *input = &task->input;
    uint64_t most = budget(task)->most_each;
    if (most > 0 && input->taken - input->written + len > most)
        return -ENOMEM;
    /* Straight into the pipe, where nothing waits before it. */
    size_t put_now = 0;
    if (input->first == NULL && len > 0) {
        ssize_t n = put(input, bytes, len);
        if (n < 0 && n != -EAGAIN) {
            shut(task);
            return 0;
        }
        put_now = n > 0 ? (size_t)n : 0;
        input->taken += put_now;
        input->written += put_now;
    }
    if (put_now < len || ends) {
        if (keep(task, bytes + put_now, len - put_now, ends) < 0)
            return -ENOMEM;
        input->taken += len - put_now;
        input->ends += ends;
        push(task);
    }
    return 0;
}

const char *input_take(struct task *task, const struct link_input *order, const uint8_t *bytes) {
    struct input *input = &task->input;
    if (!input->open)
        return NULL; /* not started, or over before the agent heard of it */
    bool ended = input->closed || (input->ends > 0 && !input->terminal);
    if (!ended && order->off > input->taken)
        return input->refused ? NULL : "input that begins beyond what was taken";
    if (!ended) {
        uint64_t repeated = input->taken - order->off;
        size_t skip = repeated < order->len ? (size_t)repeated : order->len;
        int err = take_bytes(task, bytes + skip, order->len - skip,
                             (order->flags & LINK_INPUT_CLOSE) != 0);
        input->refused = err < 0;
        input->err = -err;
    }
    tell(task);
    task_settle(task);
    return NULL;
}

void input_let_go(struct input *input) {
    input->refused = false;
    input->err = 0;
}

void input_leader_gone(struct task *task) {
    struct input *input = &task->input;
    struct pollfd end = {.fd = input->source.fd, .events = POLLOUT};
    if (input->source.fd < 0 || poll(&end, 1, 0) != 1 || (end.revents & (POLLERR | POLLHUP)) == 0)
        return;
    shut(task);
    tell(task);
}

void input_last(struct task *task) {
    struct input *input = &task->input;
    if (input->source.fd < 0)
        return;
    if (input->terminal || input->first == NULL || keep(task, NULL, 0, true) < 0)
        shut(task);
}

void input_stop(struct task *task) {
    shut(task);
}

/* ── to another executable ── */

void input_each(const struct input *input,
                void (*visit)(void *arg, const uint8_t *bytes, size_t len, bool ends), void *arg) {
    for (const struct input_chunk *chunk = input->first; chunk != NULL; chunk = chunk->next)
        visit(arg, chunk->bytes + chunk->at, chunk->len - chunk->at, chunk->ends);
}

int input_give(struct task *task, const uint8_t *bytes, size_t len, bool ends) {
    return keep(task, bytes, len, ends);
}

void input_go_on(struct task *task) {
    if (task->input.first != NULL && watch(task) != 0)
        shut(task);
}
