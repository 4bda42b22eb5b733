/* info: the capsule and its guestd, now. */
#include "proto/client/commands.h"
#include "proto/client/show.h"

static int run(struct ctl *ctl) {
    return show_method(ctl, "info");
}

const struct command cmd_info = {
    .name = "info",
    .group = GROUP_CAPSULE,
    .usage = "",
    .summary = "tell the capsule's kernel, memory, and how guestd fares",
    .run = run,
};
