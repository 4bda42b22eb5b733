/* mkdir: directories, with what is missing above them. */
#include "proto/client/commands.h"

enum { KEY_NO_PARENTS = 256 };

static const struct option_row options[] = {
    {'m', "mode", "MODE", "Its permission bits, octal; otherwise 755.", false},
    {'u', "user", "USER", "Made as this user; all that is made belongs to it.", false},
    {'p', "parents", NULL, "Make missing directories above it: done anyway.", false},
    {KEY_NO_PARENTS, "no-parents", NULL, "The directory above it must be there.", false},
    {0},
};

static int run(struct ctl *ctl) {
    const char *argument, *user = NULL;
    bool parents = true;
    int64_t mode = -1;
    int key, r, exit_code = EXIT_DONE;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'm' && !options_mode(ctl, argument, &mode))
            return EXIT_OWN;
        if (key == 'u')
            user = argument;
        if (key == KEY_NO_PARENTS)
            parents = false;
    }
    r = ctl_begin(ctl, 1, -1);
    if (r != 0)
        return r;
    for (int i = 0; i < ctl->argc && exit_code != EXIT_OWN; i++) {
        struct guestproto_params *params = ctl_params();

        guestproto_put_name(params, "path", ctl->argv[i]);
        if (mode >= 0)
            guestproto_put_int(params, "mode", mode);
        guestproto_put_name(params, "user", user);
        if (!parents)
            guestproto_put_bool(params, "parents", false);
        r = ctl_call_simple(ctl, "file.mkdir", params);
        if (r != EXIT_DONE)
            exit_code = r;
    }
    return exit_code;
}

const struct command cmd_mkdir = {
    .name = "mkdir",
    .group = GROUP_FILES,
    .usage = "[-m MODE] [-u USER] DIR...",
    .summary = "make directories in the capsule",
    .text =
        "As mkdir -p does: what is missing above is made too, and a directory that is there is\n"
        "fine.",
    .options = options,
    .run = run,
};
