/* hello: what guestd is and can, and the limits it holds. */
#include "proto/client/commands.h"
#include "proto/client/json.h"
#include "proto/client/show.h"

static int run(struct ctl *ctl) {
    const char *argument;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0)
        if (key < 0)
            return ctl->exit_code;
    r = ctl_begin(ctl, 0, 0);
    if (r != 0)
        return r;
    if (ctl->json)
        json_print(guestproto_hello(ctl->client));
    else
        show_fields(guestproto_hello(ctl->client));
    return EXIT_DONE;
}

const struct command cmd_hello = {
    .name = "hello",
    .group = GROUP_CAPSULE,
    .usage = "",
    .summary = "tell guestd's version, capabilities and limits",
    .run = run,
};
