/* shutdown: the capsule, or guestd where it isn't the machine's init. */
#include <string.h>

#include "proto/client/commands.h"

enum { KEY_GRACE = 256 };

static const struct option_row options[] = {
    {KEY_GRACE, "grace", "SECONDS", "From SIGTERM to SIGKILL for what still runs; otherwise 5.",
     false},
    {0},
};

static int run(struct ctl *ctl) {
    struct guestproto_params *params;
    const char *argument, *mode = "poweroff";
    double grace = -1;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (!options_seconds(ctl, "--grace", argument, &grace))
            return EXIT_OWN;
    }
    if (!options_operands(ctl, 0, 1))
        return EXIT_OWN;
    if (ctl->argc == 1)
        mode = ctl->argv[0];
    if (strcmp(mode, "poweroff") != 0 && strcmp(mode, "reboot") != 0 && strcmp(mode, "exit") != 0)
        return ctl_complain(ctl, "poweroff, reboot or exit, not \"%s\"", mode);
    r = ctl_connect(ctl);
    if (r != 0)
        return r;
    params = ctl_params();
    guestproto_put_text(params, "mode", mode);
    if (grace >= 0)
        guestproto_put_number(params, "grace", grace);
    return ctl_call_simple(ctl, "shutdown", params);
}

const struct command cmd_shutdown = {
    .name = "shutdown",
    .group = GROUP_CAPSULE,
    .usage = "[--grace SECONDS] [poweroff|reboot|exit]",
    .summary = "end what runs and power the capsule off",
    .text = "Answers, then sends SIGTERM to all that runs, SIGKILL to what still does after the "
            "grace,\n"
            "writes the disks, and powers off (the default) or reboots; `exit` ends guestd alone,\n"
            "where it isn't the machine's init.",
    .options = options,
    .run = run,
};
