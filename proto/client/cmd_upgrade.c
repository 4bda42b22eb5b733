/* upgrade: another build of guestd in its place, and what came of it. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/sha256.h"
#include "proto/client/wire.h"

enum { KEY_SUPERVISOR = 256, KEY_SHA256 };

static const struct option_row options[] = {
    {KEY_SUPERVISOR, "supervisor", NULL,
     "Also the supervisor, which keeps its pid; otherwise only the agent.", false},
    {KEY_SHA256, "sha256", "HEX", "What the file must be, where there is no copy of it here.",
     false},
    {0},
};

/* A new agent has 5 s; the way back takes as long at most. */
#define SETTLED_MS 20000
#define LOOK_MS 50

struct upgrade_options {
    bool supervisor;
    const char *sha256;
};

static int ask_info(struct ctl *ctl, struct guestproto_reply *reply) {
    *reply = (struct guestproto_reply){.owner = NULL};
    return guestproto_call(ctl->client, "info", NULL, reply);
}

static int start(struct ctl *ctl, const struct upgrade_options *upgrade, const char *sha256) {
    struct guestproto_params *params = ctl_params();
    int r;

    guestproto_put_name(params, "path", ctl->argv[0]);
    guestproto_put_text(params, "sha256", sha256);
    if (upgrade->supervisor)
        guestproto_put_bool(params, "supervisor", true);
    r = guestproto_call(ctl->client, "upgrade", params, NULL);
    guestproto_params_free(params);
    return r;
}

/* Asks until it has come to something; over the connection that the swap cuts, too. */
static int await(struct ctl *ctl, struct guestproto_reply *reply) {
    int64_t deadline = wire_now_ms() + SETTLED_MS;

    for (;;) {
        int r = ask_info(ctl, reply);

        if (r != 0)
            return r;
        if (!guestproto_get_is(guestproto_get(&reply->result, "upgrade"), "state", "pending") ||
            wire_now_ms() > deadline)
            return 0;
        guestproto_reply_free(reply);
        poll(NULL, 0, LOOK_MS);
    }
}

static int tell(const struct ctl *ctl, const msgpack_object *before, const msgpack_object *after) {
    struct guestproto_bytes old = {"?", 1}, version = {"?", 1};
    const msgpack_object *upgrade = guestproto_get(after, "upgrade");
    bool done = guestproto_get_is(upgrade, "state", "done");

    guestproto_get_bytes(before, "version", &old);
    guestproto_get_bytes(after, "version", &version);
    if (ctl->json)
        json_print(after);
    if (guestproto_get_is(upgrade, "state", "rolled_back")) {
        ctl_complain(ctl, "the new guestd did not serve: the old one is back");
    } else if (!done) {
        ctl_complain(ctl, "it is not known what came of it: look at `guestctl info`");
    } else if (!ctl->json) {
        printf("guestd ");
        human_bytes(stdout, version);
        printf(" serves; it was ");
        human_bytes(stdout, old);
        putchar('\n');
    }
    return done ? EXIT_DONE : EXIT_GUEST;
}

static int run_upgrade(struct ctl *ctl, const struct upgrade_options *upgrade, const char *sha256) {
    struct guestproto_reply before, after = {0};
    int r = ask_info(ctl, &before), exit_code;

    if (r == 0)
        r = start(ctl, upgrade, sha256);
    if (r == 0)
        r = await(ctl, &after);
    exit_code = r == 0 ? tell(ctl, &before.result, &after.result) : ctl_failed(ctl, r);
    guestproto_reply_free(&before);
    guestproto_reply_free(&after);
    return exit_code;
}

static int run(struct ctl *ctl) {
    struct upgrade_options upgrade = {0};
    char sha256[SHA256_TEXT] = "";
    const char *argument;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == KEY_SHA256)
            upgrade.sha256 = argument;
        else
            upgrade.supervisor = true;
    }
    if (!options_operands(ctl, 1, 2))
        return EXIT_OWN;
    if ((ctl->argc == 2) == (upgrade.sha256 != NULL))
        return ctl_complain(ctl, "give a FILE of this side that it must be like, or --sha256 HEX");
    r = ctl->argc == 2 ? sha256_file(ctl->argv[1], sha256) : 0;
    if (r < 0)
        return ctl_complain(ctl, "%s: %s", ctl->argv[1], strerror(-r));
    r = ctl_connect(ctl);
    return r == 0 ? run_upgrade(ctl, &upgrade, upgrade.sha256 ? upgrade.sha256 : sha256) : r;
}

const struct command cmd_upgrade = {
    .name = "upgrade",
    .group = GROUP_CAPSULE,
    .usage = "[--supervisor] [--sha256 HEX] PATH [FILE]",
    .summary = "replace guestd by another build of it",
    .text =
        "PATH is the new executable, a file in the capsule; it must be the same as FILE here, or\n"
        "have the digest HEX. Programs, their output, stdin and terminals go on; connections\n"
        "are cut, and clients find their way back by themselves. A new guestd that isn't serving\n"
        "within 5 seconds is given up, and the old one comes back.",
    .options = options,
    .after = "Exit status\n"
             "  0 the new one serves; 1 it was refused, or rolled back; 125 guestctl failed.\n"
             "\n"
             "Examples\n"
             "  guestctl write --mode 755 /run/guestd.new guestd\n"
             "  guestctl upgrade --supervisor /run/guestd.new guestd",
    .run = run,
};
