/* stat: all that is known of one path. */
#include <inttypes.h>
#include <stdio.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"

static const struct option_row options[] = {
    {'L', "follow", NULL, "What a symlink points to, not the symlink.", false},
    {'u', "user", "USER", "As this user sees it.", false},
    {0},
};

static void print_field(const char *name, struct guestproto_bytes value) {
    printf("%10s  ", name);
    human_bytes(stdout, value);
}

static void print_entry(const struct guestproto_entry *entry) {
    char text[HUMAN_TEXT];

    print_field("path", entry->path);
    if (entry->symlink_target.data) {
        printf(" -> ");
        human_bytes(stdout, entry->symlink_target);
    }
    putchar('\n');
    print_field("type", entry->type);
    printf("\n%10s  %" PRIu64, "size", entry->size);
    if (entry->size >= 1000)
        printf(" (%s)", human_size(entry->size, text));
    printf("\n%10s  %04o ", "mode", (unsigned)entry->mode);
    human_bytes(stdout, entry->permissions);
    putchar('\n');
    print_field("owner", entry->owner);
    putchar(':');
    human_bytes(stdout, entry->group);
    printf("\n%10s  %s\n", "modified", human_time(entry->modified_at, text));
}

static int stat_one(struct ctl *ctl, const char *path, bool follow, const char *user) {
    struct guestproto_params *params = ctl_params();
    struct guestproto_reply reply = {0};
    struct guestproto_entry entry;
    int r;

    guestproto_put_name(params, "path", path);
    guestproto_put_bool(params, "follow", follow);
    guestproto_put_name(params, "user", user);
    r = guestproto_call(ctl->client, "file.stat", params, &reply);
    guestproto_params_free(params);
    if (r != 0)
        return ctl_failed(ctl, r);
    if (ctl->json) {
        json_print(&reply.result);
    } else if (guestproto_entry_read(guestproto_get(&reply.result, "entry"), &entry)) {
        print_entry(&entry);
    } else {
        r = ctl_complain(ctl, "the guest sent an entry that is none");
    }
    guestproto_reply_free(&reply);
    return r;
}

static int run(struct ctl *ctl) {
    const char *argument, *user = NULL;
    int key, r, exit_code = EXIT_DONE;
    bool follow = false;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'L')
            follow = true;
        else
            user = argument;
    }
    r = ctl_begin(ctl, 1, -1);
    if (r != 0)
        return r;
    for (int i = 0; i < ctl->argc && exit_code != EXIT_OWN; i++) {
        if (i > 0 && !ctl->json)
            putchar('\n');
        r = stat_one(ctl, ctl->argv[i], follow, user);
        if (r != EXIT_DONE)
            exit_code = r;
    }
    return exit_code;
}

const struct command cmd_stat = {
    .name = "stat",
    .group = GROUP_FILES,
    .usage = "[-L] PATH...",
    .summary = "tell what is known of files of the capsule",
    .options = options,
    .run = run,
};
