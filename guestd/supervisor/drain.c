#include "supervisor/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "supervisor/ending.h"
#include "supervisor/note.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"
#include "supervisor/terminal.h"

#define TURN_BYTES (256u << 10)
#define BULK_BYTES (64u << 10) /* a turn that moved as much was not the last */
#define RESET_PEAK_BYTES (512u << 10)

/*
 * Nothing more will be written. exec(2) makes the peak of our resident set the start of the
 * program's (getrusage(2), ru_maxrss): after much output the peak is set back (proc(5),
 * clear_refs).
 */
static void rest(struct task *task) {
    store_rest(&task->store);
    if (store_pages(&task->store) * STORE_PAGE < RESET_PEAK_BYTES)
        return;
    int fd = openat(task->supervisor->nursery.proc, "self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t ignored = write(fd, "5", 1);
    (void)ignored;
    close(fd);
}

static void close_pipe(struct task_pipe *pipe) {
    if (pipe->source.fd < 0)
        return;
    loop_remove(&pipe->task->supervisor->loop, &pipe->source);
    budget_forget_pipe(pipe);
    close(pipe->source.fd);
    pipe->source.fd = -1;
    if (task_is_over(pipe->task))
        pipe->task->supervisor->tasks.held--;
    pipe->paused = false;
    if (pipe->task->pipe[!pipe->channel].source.fd < 0)
        rest(pipe->task);
    budget_count(pipe->task);
}

static void pause_pipe(struct task_pipe *pipe) {
    /* Taken out whole: a hang-up would be reported whatever events are asked for. */
    loop_remove(&pipe->task->supervisor->loop, &pipe->source);
    pipe->paused = true;
}

static bool is_terminal(const struct task_pipe *pipe) {
    return (pipe->task->flags & LINK_SPAWN_PTY) != 0;
}

/* What store_fill returns, a terminal's ways made a pipe's: 0 when nobody has it open, -EAGAIN only
 * when there really is nothing. */
static ssize_t fill(struct task_pipe *pipe, size_t most, bool hung_up) {
    struct store *store = &pipe->task->store;
    int fd = pipe->source.fd;
    if (!is_terminal(pipe))
        return store_fill(store, pipe->channel, fd, most, hung_up);
    ssize_t got = store_fill(store, pipe->channel, fd, most, false);
    if (got == -EIO)
        return 0;
    if (got != -EAGAIN && got != -ENOBUFS)
        return got;
    enum terminal_state state = terminal_look(fd);
    if (state == TERMINAL_READABLE && got == -EAGAIN)
        return store_fill(store, pipe->channel, fd, most, false);
    return state == TERMINAL_UNUSED ? 0 : got;
}

/* As long as the session lives, somebody may open its terminal again, and must not be hung up by
 * us. Until then poll(2) would report a hang-up all the time. */
static bool keep_unused(struct task_pipe *pipe) {
    if (!is_terminal(pipe) || pipe->task->state != TASK_RUNNING)
        return false;
    if (!pipe->unused &&
        loop_add(&pipe->task->supervisor->loop, &pipe->source, EPOLLIN | EPOLLET) < 0)
        return false;
    pipe->unused = true;
    return true;
}

static void turn(struct task_pipe *pipe, bool hung_up) {
    struct task *task = pipe->task;
    size_t left = TURN_BYTES;
    ssize_t got = 1;
    while (left > 0 && got > 0) {
        size_t most = budget_room(pipe, left);
        got = most > 0 ? fill(pipe, most, hung_up) : -ENOBUFS;
        if (got > 0) {
            left -= (size_t)got < left ? (size_t)got : left;
            pipe->must_read -= (uint64_t)got < pipe->must_read ? (uint64_t)got : pipe->must_read;
            budget_count(task);
        }
    }
    if (TURN_BYTES - left >= BULK_BYTES)
        task->supervisor->loop.linger = true;
    if (is_terminal(pipe) && got == -EAGAIN)
        pipe->must_read = 0;
    if (pipe->unused && left < TURN_BYTES)
        drain_begin(pipe);
    if (got == -ENOBUFS) {
        pause_pipe(pipe);
    } else if (got <= 0 && got != -EAGAIN && (got < 0 || !keep_unused(pipe))) {
        if (got < 0)
            note("job %llx: a pipe could not be read: %s", (unsigned long long)task->job,
                 strerror((int)-got));
        store_end(&task->store, pipe->channel);
        close_pipe(pipe);
    }
    if (store_over(&task->store, pipe->channel))
        ending_kill(task, LINK_REASON_OUTPUT_LIMIT);
    drain_ring(task);
}

static void on_pipe(struct source *source, uint32_t events) {
    struct task_pipe *pipe = container_of(source, struct task_pipe, source);
    turn(pipe, (events & (EPOLLHUP | EPOLLERR)) != 0);
    task_settle(pipe->task);
}

void drain_begin(struct task_pipe *pipe) {
    pipe->source.ready = on_pipe;
    pipe->paused = pipe->unused = false;
    if (pipe->source.fd < 0)
        return;
    int err = loop_add(&pipe->task->supervisor->loop, &pipe->source, EPOLLIN);
    if (err < 0) {
        note("job %llx: a pipe can't be polled: %s", (unsigned long long)pipe->task->job,
             strerror(-err));
        store_end(&pipe->task->store, pipe->channel);
        close_pipe(pipe);
    }
}

void drain_resume(struct task_pipe *pipe) {
    if (pipe->paused && pipe->source.fd >= 0)
        drain_begin(pipe);
}

void drain_last(struct task_pipe *pipe) {
    if (pipe->source.fd < 0)
        return;
    int waiting = 0;
    ioctl(pipe->source.fd, FIONREAD, &waiting);
    pipe->must_read = waiting > 0 ? (uint64_t)waiting : 0;
    if (is_terminal(pipe))
        pipe->must_read = TERMINAL_HOLDS;
    drain_again(pipe);
}

void drain_again(struct task_pipe *pipe) {
    struct pollfd end = {.fd = pipe->source.fd, .events = POLLIN};
    if (pipe->source.fd >= 0 && (poll(&end, 1, 0) == 1 || is_terminal(pipe)))
        turn(pipe, (end.revents & POLLHUP) != 0);
}

bool drain_done(const struct task_pipe *pipe, bool waited_out) {
    return pipe->source.fd < 0 || (pipe->must_read == 0 && waited_out);
}

unsigned drain_open(const struct task *task) {
    return (unsigned)(task->pipe[0].source.fd >= 0) + (unsigned)(task->pipe[1].source.fd >= 0);
}

void drain_stop(struct task_pipe *pipe) {
    close_pipe(pipe);
}

void drain_ring(struct task *task) {
    if (!task->armed)
        return;
    bool news = false;
    for (unsigned c = 0; c < 2; c++) {
        const struct store_channel *channel = &task->store.channel[c];
        news |= channel->end > task->seen[c] || (channel->eof && !task->eof_seen[c]);
    }
    if (!news)
        return;
    task->armed = false;
    task_owe(task, OWED_OUTPUT);
    tell_owed(task->supervisor);
}
