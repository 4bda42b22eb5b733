/* input: into the stdin of a program that runs already. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/commands.h"

enum { KEY_CLOSE = 256 };

static const struct option_row options[] = {
    {KEY_CLOSE, "close", NULL, "Then its stdin ends. On a terminal: Ctrl-D.", false},
    {0},
};

static struct guestproto_params *selector(struct ctl *ctl) {
    struct guestproto_params *params = ctl_params();

    guestproto_put_selector(params, ctl->argv[0]);
    return params;
}

static int feed(struct ctl *ctl, int fd, bool close_it) {
    struct guestproto_params *params = selector(ctl);
    int r = guestproto_input_fd(ctl->client, params, fd, NULL, NULL);

    guestproto_params_free(params);
    if (r != 0)
        return ctl_failed(ctl, r);
    return close_it ? ctl_call_simple(ctl, "process.close_stdin", selector(ctl)) : EXIT_DONE;
}

static int run(struct ctl *ctl) {
    const char *argument, *file;
    int key, fd = STDIN_FILENO, exit_code;
    bool close_it = false;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        close_it = true;
    }
    if (!options_operands(ctl, 1, 2))
        return EXIT_OWN;
    file = ctl->argc == 2 && strcmp(ctl->argv[1], "-") != 0 ? ctl->argv[1] : NULL;
    if (file)
        fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return ctl_complain(ctl, "%s: %s", file, strerror(errno));
    exit_code = ctl_connect(ctl);
    if (exit_code == 0)
        exit_code = feed(ctl, fd, close_it);
    if (file)
        close(fd);
    return exit_code;
}

const struct command cmd_input = {
    .name = "input",
    .group = GROUP_PROCESSES,
    .usage = "[--close] PID|TAG [FILE]",
    .summary = "send FILE or stdin to a running program's stdin",
    .text =
        "The program was started with `exec -b -i` or `-b -t`, or is somebody's `exec -i`. When\n"
        "guestctl ends, guestd has all of it, and gives it to the program as it reads. Its stdin\n"
        "stays open for more, unless --close.",
    .options = options,
    .after = "Examples\n"
             "  guestctl exec -b -i --tag sum -- sha256sum\n"
             "  guestctl input --close sum data\n"
             "  guestctl wait -o sum",
    .run = run,
};
