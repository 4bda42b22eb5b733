/* rm: files, and directories with all that is in them. */
#include <stdio.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"

static const struct option_row options[] = {
    {'f', "force", NULL, "A path that isn't there is fine.", false},
    {'r', "recursive", NULL, "Directories too: done anyway.", false},
    {'u', "user", "USER", "As this user, with its rights.", false},
    {'v', "verbose", NULL, "Tell how much was removed.", false},
    {0},
};

/* What stands in the way: a tree's removal tells its first failure, and how many there were. */
static void tell_rest(struct ctl *ctl) {
    const msgpack_object *data = &guestproto_error(ctl->client)->data;
    struct guestproto_bytes path;
    uint64_t removed = 0, failed = 0;

    if (ctl->json || !guestproto_get_bytes(data, "path", &path))
        return;
    guestproto_get_uint(data, "removed", &removed);
    guestproto_get_uint(data, "failed", &failed);
    fprintf(stderr, "guestctl: rm: first at ");
    human_bytes(stderr, path);
    fprintf(stderr, "; %llu removed, %llu left\n", (unsigned long long)removed,
            (unsigned long long)failed);
}

static int remove_one(struct ctl *ctl, const char *path, bool force, const char *user,
                      uint64_t *removed) {
    struct guestproto_params *params = ctl_params();
    struct guestproto_reply reply = {0};
    uint64_t n = 0;
    int r;

    guestproto_put_name(params, "path", path);
    if (force)
        guestproto_put_bool(params, "missing_ok", true);
    guestproto_put_name(params, "user", user);
    r = guestproto_call(ctl->client, "file.remove", params, &reply);
    guestproto_params_free(params);
    if (r != 0) {
        r = ctl_failed(ctl, r);
        tell_rest(ctl);
        return r;
    }
    guestproto_get_uint(&reply.result, "removed", &n);
    *removed += n;
    if (ctl->json)
        json_print(&reply.result);
    guestproto_reply_free(&reply);
    return EXIT_DONE;
}

static int run(struct ctl *ctl) {
    const char *argument, *user = NULL;
    bool force = false, verbose = false;
    uint64_t removed = 0;
    int key, r, exit_code = EXIT_DONE;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'f')
            force = true;
        if (key == 'v')
            verbose = true;
        if (key == 'u')
            user = argument;
    }
    r = ctl_begin(ctl, force ? 0 : 1, -1);
    if (r != 0)
        return r;
    for (int i = 0; i < ctl->argc && exit_code != EXIT_OWN && exit_code != EXIT_INTERRUPTED; i++) {
        r = remove_one(ctl, ctl->argv[i], force, user, &removed);
        if (r != EXIT_DONE)
            exit_code = r;
    }
    if (verbose && !ctl->json)
        printf("%llu removed\n", (unsigned long long)removed);
    return exit_code;
}

const struct command cmd_rm = {
    .name = "rm",
    .group = GROUP_FILES,
    .usage = "[-f] [-v] PATH...",
    .summary = "remove files and whole directories of the capsule",
    .text = "As rm -r --one-file-system does, without asking. / and mount points are refused, and\n"
            "symlinks below PATH are removed, never followed. Ctrl-C stops it.",
    .options = options,
    .run = run,
};
