/* metrics: how much of the capsule is in use, now. */
#include "proto/client/commands.h"
#include "proto/client/show.h"

static int run(struct ctl *ctl) {
    return show_method(ctl, "metrics");
}

const struct command cmd_metrics = {
    .name = "metrics",
    .group = GROUP_CAPSULE,
    .usage = "",
    .summary = "tell how much of its processors, memory and disk is in use",
    .run = run,
};
