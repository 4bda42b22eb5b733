#include "proto/client/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/client/fd.h"
#include "proto/client/terminal.h"

/* Our terminal becomes the program's once there is a program: until then ^C is ours. */
static int on_started(void *context, const struct guestproto_started *started) {
    struct live *live = context;
    struct guestproto *client = live->ctl->client;
    struct stat st;

    if (live->began)
        return 0;
    live->began = true;
    if (live->seek && started->stdin_off > 0 && fstat(STDIN_FILENO, &st) == 0 &&
        S_ISREG(st.st_mode) && lseek(STDIN_FILENO, (off_t)started->stdin_off, SEEK_CUR) < 0)
        return -errno;
    if (!live->terminal)
        return 0;
    terminal_follow_size(client);
    if (live->input && isatty(STDIN_FILENO) && !terminal_raw(client))
        return -errno;
    return 0;
}

static int on_output(void *context, enum guestproto_channel channel, uint64_t off, const void *data,
                     size_t len) {
    return fd_write_all(channel == GUESTPROTO_STDERR ? STDERR_FILENO : STDOUT_FILENO, data, len);
}

static int on_gap(void *context, enum guestproto_channel channel, uint64_t from, uint64_t to) {
    const struct live *live = context;
    static const char *const names[] = {"stdout", "stderr", "the terminal's output"};

    ctl_complain(live->ctl, "%llu bytes of %s are gone", (unsigned long long)(to - from),
                 names[channel]);
    return 0;
}

static ssize_t read_stdin(void *buf, size_t len) {
    ssize_t n = read(STDIN_FILENO, buf, len);

    if (n >= 0)
        return n;
    if (errno == EIO)
        return 0; /* the terminal has hung up */
    return errno == EINTR ? -EAGAIN : -errno;
}

static ssize_t on_input(void *context, void *buf, size_t len) {
    struct live *live = context;
    ssize_t n;

    if (!terminal_is_raw())
        return read_stdin(buf, len);
    if (len < 2) {
        poll(NULL, 0, 1); /* a tilde may come with the next byte; there is room for two soon */
        return -EAGAIN;
    }
    n = read_stdin(buf, len - 1);
    if (n <= 0)
        return n;
    n = (ssize_t)escape_filter(&live->escape, buf, (size_t)n);
    if (live->escape.out)
        guestproto_cancel(live->ctl->client);
    return n > 0 ? n : -EAGAIN;
}

struct guestproto_exec live_callbacks(struct live *live) {
    return (struct guestproto_exec){
        .context = live,
        .started = on_started,
        .output = on_output,
        .gap = on_gap,
        .input = live->input ? on_input : NULL,
        .input_fd = STDIN_FILENO,
        .poll_input = true,
    };
}

void live_end(const struct live *live, int r) {
    terminal_restore();
    if (r == -EPIPE && guestproto_error(live->ctl->client)->err == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
}
