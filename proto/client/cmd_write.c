/* write: a file of this side, or stdin, becomes a file of the capsule. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/client/commands.h"
#include "proto/client/json.h"
#include "proto/client/progress.h"

/* Up to here one frame carries the file; beyond, and for what has no size, a stream. */
#define ONE_FRAME (512u << 10)

enum { KEY_MODE = 256, KEY_USER, KEY_APPEND, KEY_OFF, KEY_SHA256, KEY_FSYNC, KEY_NO_ATOMIC };

static const struct option_row options[] = {
    {'m', "mode", "MODE", "Its permission bits, octal; otherwise those it has, or 644.", false},
    {'u', "user", "USER", "Written as this user, and owned by it.", false},
    {'p', "parents", NULL, "Make missing directories above it.", false},
    {KEY_APPEND, "append", NULL, "At its end, in place.", false},
    {KEY_OFF, "off", "BYTES", "From this place on, in place: to go on with a broken upload.",
     false},
    {KEY_SHA256, "sha256", "HEX", "Keep it only if the bytes that arrived have this hash.", false},
    {KEY_FSYNC, "fsync", NULL, "Answer once it is on the disk.", false},
    {KEY_NO_ATOMIC, "no-atomic", NULL, "In place, where a new file can't take the old one's name.",
     false},
    {0},
};

static int take_option(struct ctl *ctl, int key, const char *argument,
                       struct guestproto_params *params) {
    uint64_t bytes;
    int64_t mode;

    switch (key) {
    case 'm':
        if (!options_mode(ctl, argument, &mode))
            return -1;
        guestproto_put_int(params, "mode", mode);
        break;
    case 'u':
        guestproto_put_name(params, "user", argument);
        break;
    case 'p':
        guestproto_put_bool(params, "create_parents", true);
        break;
    case KEY_APPEND:
        guestproto_put_bool(params, "append", true);
        break;
    case KEY_OFF:
        if (!options_bytes(ctl, "--off", argument, &bytes))
            return -1;
        guestproto_put_int(params, "off", (int64_t)bytes);
        break;
    case KEY_SHA256:
        guestproto_put_text(params, "sha256", argument);
        break;
    case KEY_FSYNC:
        guestproto_put_bool(params, "fsync", true);
        break;
    case KEY_NO_ATOMIC:
        guestproto_put_bool(params, "atomic", false);
        break;
    }
    return 0;
}

/* The whole of a small file. Returns its length, which may have changed since it was asked, or -1.
 */
static ssize_t read_whole(int fd, char *data, size_t size) {
    size_t len = 0;

    while (len < size) {
        ssize_t n = read(fd, data + len, size - len);

        if (n == 0)
            break;
        if (n < 0 && errno != EINTR)
            return -1;
        len += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)len;
}

static int send_whole(struct ctl *ctl, struct guestproto_params *params, int fd,
                      struct guestproto_reply *reply) {
    static char data[ONE_FRAME];
    ssize_t len = read_whole(fd, data, sizeof(data));

    if (len < 0)
        return -ctl_complain(ctl, "read: %s", strerror(errno));
    guestproto_put_bytes(params, "data", data, (size_t)len);
    return guestproto_call(ctl->client, "file.write", params, reply);
}

static int send_stream(struct ctl *ctl, struct guestproto_params *params, int fd, uint64_t size,
                       const char *name, struct guestproto_reply *reply) {
    struct progress progress;
    uint64_t bytes = 0;
    int r;

    /* The size is checked before the file is published: one that shrank on the way is no whole
     * file. */
    if (size > 0)
        guestproto_put_int(params, "size", (int64_t)size);
    progress_begin(&progress, name, size);
    r = guestproto_upload_fd(ctl->client, params, fd, progress_update, &progress, reply);
    if (r == 0)
        guestproto_get_uint(&reply->result, "bytes", &bytes);
    progress_end(&progress, bytes, r == 0);
    return r;
}

static int upload(struct ctl *ctl, struct guestproto_params *params, int fd, const char *name) {
    struct guestproto_reply reply = {0};
    struct stat st;
    off_t at = lseek(fd, 0, SEEK_CUR);
    bool sized = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && at >= 0 && st.st_size > at;
    uint64_t size = sized ? (uint64_t)(st.st_size - at) : 0;
    int r;

    if (sized && size <= ONE_FRAME)
        r = send_whole(ctl, params, fd, &reply);
    else
        r = send_stream(ctl, params, fd, size, name, &reply);
    if (r == -EXIT_OWN)
        return EXIT_OWN;
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

static int run(struct ctl *ctl) {
    struct guestproto_params *params = ctl_params();
    const char *argument, *file;
    int key, fd = STDIN_FILENO, exit_code = EXIT_OWN;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0) {
            exit_code = ctl->exit_code;
            goto out;
        }
        if (take_option(ctl, key, argument, params) < 0)
            goto out;
    }
    if (!options_operands(ctl, 1, 2))
        goto out;
    file = ctl->argc == 2 && strcmp(ctl->argv[1], "-") != 0 ? ctl->argv[1] : NULL;
    if (file)
        fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ctl_complain(ctl, "%s: %s", file, strerror(errno));
        goto out;
    }
    exit_code = ctl_connect(ctl);
    if (exit_code != 0)
        goto out;
    guestproto_put_name(params, "path", ctl->argv[0]);
    exit_code = upload(ctl, params, fd, file ? file : ctl->argv[0]);
out:
    guestproto_params_free(params);
    return exit_code;
}

const struct command cmd_write = {
    .name = "write",
    .group = GROUP_FILES,
    .usage = "[OPTION]... PATH [FILE]",
    .summary = "write a file in the capsule, from FILE or stdin",
    .text = "Readers in the capsule see the old file or the new one, never a half; an upload that\n"
            "breaks leaves the old one. Mode and owner of a file that is there are kept. PATH is\n"
            "absolute. On a terminal a bar tells how far it is.",
    .options = options,
    .after = "Examples\n"
             "  guestctl write /app/main.py main.py\n"
             "  tar c src | guestctl write -p /srv/src.tar\n"
             "  guestctl write --mode 600 --user app /etc/app/key key",
    .run = run,
};
