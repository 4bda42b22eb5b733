/* read: a file of the capsule, to stdout or to a file of this side. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/commands.h"
#include "proto/client/json.h"
#include "proto/client/progress.h"

enum { KEY_OFF = 256, KEY_LEN };

static const struct option_row options[] = {
    {KEY_OFF, "off", "BYTES", "Begin at this byte.", false},
    {KEY_LEN, "len", "BYTES", "Stop after so many.", false},
    {0},
};

struct span {
    const char *path;
    uint64_t off, len;
    bool some; /* len was given */
};

static struct guestproto_params *span_params(const struct span *span) {
    struct guestproto_params *params = ctl_params();

    guestproto_put_name(params, "path", span->path);
    if (span->off)
        guestproto_put_int(params, "off", (int64_t)span->off);
    if (span->some)
        guestproto_put_int(params, "len", (int64_t)span->len);
    return params;
}

/* For the bar only: a transfer without a total is still a transfer. */
static uint64_t ask_total(struct ctl *ctl, const struct span *span) {
    struct guestproto_params *params = ctl_params();
    struct guestproto_reply reply = {0};
    uint64_t size = 0;

    guestproto_put_name(params, "path", span->path);
    guestproto_put_bool(params, "follow", true);
    if (guestproto_call(ctl->client, "file.stat", params, &reply) == 0)
        guestproto_get_uint(guestproto_get(&reply.result, "entry"), "size", &size);
    guestproto_params_free(params);
    guestproto_reply_free(&reply);
    size = size > span->off ? size - span->off : 0;
    return span->some && span->len < size ? span->len : size;
}

static int download(struct ctl *ctl, const struct span *span, int fd, bool bar) {
    struct guestproto_params *params = span_params(span);
    struct guestproto_reply reply = {0};
    struct progress progress = {0};
    uint64_t end = span->off;
    int r;

    if (bar && isatty(STDERR_FILENO))
        progress_begin(&progress, span->path, ask_total(ctl, span));
    r = guestproto_download_fd(ctl->client, params, fd, progress_update, &progress, &reply);
    guestproto_params_free(params);
    if (r == 0)
        guestproto_get_uint(&reply.result, "off", &end);
    progress_end(&progress, end > span->off ? end - span->off : 0, r == 0);
    if (r == -EPIPE && guestproto_error(ctl->client)->err == EPIPE) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

static int download_to(struct ctl *ctl, const struct span *span, const char *file) {
    int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666), exit_code;

    if (fd < 0)
        return ctl_complain(ctl, "%s: %s", file, strerror(errno));
    exit_code = download(ctl, span, fd, true);
    if (close(fd) < 0 && exit_code == EXIT_DONE)
        exit_code = ctl_complain(ctl, "%s: %s", file, strerror(errno));
    return exit_code;
}

static int run(struct ctl *ctl) {
    struct span span = {0};
    const char *argument, *file;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (!options_bytes(ctl, key == KEY_OFF ? "--off" : "--len", argument,
                           key == KEY_OFF ? &span.off : &span.len))
            return EXIT_OWN;
        span.some = span.some || key == KEY_LEN;
    }
    r = ctl_begin(ctl, 1, 2);
    if (r != 0)
        return r;
    span.path = ctl->argv[0];
    file = ctl->argc == 2 && strcmp(ctl->argv[1], "-") != 0 ? ctl->argv[1] : NULL;
    if (file)
        return download_to(ctl, &span, file);
    if (ctl->json)
        return ctl_call_simple(ctl, "file.read", span_params(&span));
    return download(ctl, &span, STDOUT_FILENO, !isatty(STDOUT_FILENO));
}

const struct command cmd_read = {
    .name = "read",
    .group = GROUP_FILES,
    .usage = "[--off BYTES] [--len BYTES] PATH [FILE]",
    .summary = "read a regular file of the capsule, to FILE or stdout",
    .text = "With --json and no FILE, up to 1 MiB of it is in the result's `data`, as base64.",
    .options = options,
    .after = "Examples\n"
             "  guestctl read /var/log/app.log | tail\n"
             "  guestctl read /srv/out.tar out.tar",
    .run = run,
};
