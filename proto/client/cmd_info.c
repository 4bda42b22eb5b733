/* info: the capsule and its guestd, now. */
#include "proto/client/commands.h"
#include "proto/client/json.h"
#include "proto/client/show.h"

static int run(struct ctl *ctl) {
    struct guestproto_reply reply = {0};
    const char *argument;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0)
        if (key < 0)
            return ctl->exit_code;
    r = ctl_begin(ctl, 0, 0);
    if (r != 0)
        return r;
    r = guestproto_call(ctl->client, "info", NULL, &reply);
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json)
        json_print(&reply.result);
    else
        show_fields(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

const struct command cmd_info = {
    .name = "info",
    .group = GROUP_CAPSULE,
    .usage = "",
    .summary = "tell the capsule's kernel, memory, and how guestd fares",
    .run = run,
};
