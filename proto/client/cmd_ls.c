/* ls: a directory's entries, streamed, so that a huge tree is on its way before it is known. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/client/commands.h"
#include "proto/client/human.h"
#include "proto/client/json.h"

/* Rows that are set together; columns only grow wider afterwards. */
#define ROWS 512

enum { KEY_DEPTH = 256, KEY_LIMIT };

static const struct option_row options[] = {
    {'l', "long", NULL, "With permissions, owner, group, size and time.", false},
    {'R', "recursive", NULL, "The whole tree.", false},
    {KEY_DEPTH, "depth", "N", "So many levels of it; 0 is the directory itself. Otherwise 1.",
     false},
    {KEY_LIMIT, "limit", "N", "At most so many entries.", false},
    {'u', "user", "USER", "As this user sees it.", false},
    {0},
};

struct listing {
    struct ctl *ctl;
    bool longer, colors;
    size_t skip; /* bytes of path that all entries share */
    size_t n;
    struct table table;
};

static bool is(struct guestproto_bytes text, const char *word) {
    return text.len == strlen(word) && memcmp(text.data, word, text.len) == 0;
}

static const char *color_of(const struct guestproto_entry *entry) {
    if (is(entry->type, "directory"))
        return "\x1b[1;34m";
    if (is(entry->type, "symlink"))
        return "\x1b[36m";
    if (!is(entry->type, "file"))
        return "\x1b[33m";
    return entry->mode & 0111 ? "\x1b[32m" : "";
}

/* The path below the one that was asked, with / behind a directory. */
static void print_name(const struct listing *listing, FILE *out,
                       const struct guestproto_entry *entry) {
    struct guestproto_bytes name = entry->path;
    const char *color = listing->colors ? color_of(entry) : "";

    if (name.len > listing->skip && listing->skip > 0) {
        name.data += listing->skip;
        name.len -= listing->skip;
    }
    fputs(color, out);
    human_bytes(out, name);
    fputs(*color ? "\x1b[0m" : "", out);
    if (is(entry->type, "directory") && !is(name, "/"))
        fputc('/', out);
    if (listing->longer && entry->symlink_target.data) {
        fputs(" -> ", out);
        human_bytes(out, entry->symlink_target);
    }
}

static void add_row(struct listing *listing, const struct guestproto_entry *entry) {
    struct table *table = &listing->table;
    char text[HUMAN_TEXT];

    human_bytes(table_cell(table), entry->permissions);
    human_bytes(table_cell(table), entry->owner);
    human_bytes(table_cell(table), entry->group);
    table_text(table, human_size(entry->size, text));
    table_text(table, human_time(entry->modified_at, text));
    print_name(listing, table_cell(table), entry);
    if (listing->n % ROWS == 0)
        table_flush(table);
}

static int on_entry(void *context, const msgpack_object *object) {
    struct listing *listing = context;
    struct guestproto_entry entry;

    listing->n++;
    if (listing->ctl->json) {
        /* Begun with the first entry: an error alone is no list. */
        fputs(listing->n == 1 ? "{\"entries\":[" : ",", stdout);
        json_write(stdout, object);
        return 0;
    }
    if (!guestproto_entry_read(object, &entry)) {
        ctl_complain(listing->ctl, "the guest sent an entry that is none");
        return 0;
    }
    if (listing->longer) {
        add_row(listing, &entry);
    } else {
        print_name(listing, stdout, &entry);
        putchar('\n');
    }
    return 0;
}

/* How much of an entry's path is what was asked for: `/a//b/` is `/a/b` in the answer. */
static size_t shared_bytes(const char *path) {
    size_t len = 0;

    for (const char *c = path; *c; c++)
        len += !(*c == '/' && (c[1] == '/' || (c[1] == '\0' && len > 0)));
    return len == 1 ? 1 : len + 1;
}

static int list(struct ctl *ctl, struct guestproto_params *params, struct listing *listing) {
    struct guestproto_reply reply = {0};
    bool truncated = false;
    int r;

    r = guestproto_list(ctl->client, params, on_entry, listing, &reply);
    if (!ctl->json)
        table_deinit(&listing->table);
    if (r == 0)
        guestproto_get_bool(&reply.result, "truncated", &truncated);
    guestproto_reply_free(&reply);
    if (ctl->json && r == 0 && listing->n == 0)
        printf("{\"entries\":[");
    if (ctl->json && (r == 0 || listing->n > 0))
        printf("],\"truncated\":%s}\n", truncated || r != 0 ? "true" : "false");
    if (r != 0)
        return ctl_failed(ctl, r);
    if (truncated && !ctl->json)
        ctl_complain(ctl, "there is more than these %zu", listing->n);
    return EXIT_DONE;
}

static int run(struct ctl *ctl) {
    struct listing listing = {.ctl = ctl, .colors = human_colors(STDOUT_FILENO)};
    struct guestproto_params *params;
    const char *argument, *user = NULL;
    int64_t depth = 1, limit = -1;
    int key, r;

    while ((key = options_next(ctl, &argument)) != 0) {
        if (key < 0)
            return ctl->exit_code;
        if (key == 'l')
            listing.longer = true;
        else if (key == 'u')
            user = argument;
        else if (key == 'R')
            depth = INT32_MAX;
        else if (key == KEY_DEPTH ? !options_int(ctl, "--depth", argument, 0, INT32_MAX, &depth)
                                  : !options_int(ctl, "--limit", argument, 1, INT32_MAX, &limit))
            return EXIT_OWN;
    }
    r = ctl_begin(ctl, 1, 1);
    if (r != 0)
        return r;

    params = ctl_params();
    guestproto_put_name(params, "path", ctl->argv[0]);
    guestproto_put_int(params, "depth", depth);
    if (limit >= 0)
        guestproto_put_int(params, "limit", limit);
    guestproto_put_name(params, "user", user);
    listing.skip = depth > 0 ? shared_bytes(ctl->argv[0]) : 0;
    table_init(&listing.table, 6, 1u << 3);
    r = list(ctl, params, &listing);
    guestproto_params_free(params);
    return r;
}

const struct command cmd_ls = {
    .name = "ls",
    .group = GROUP_FILES,
    .usage = "[-l] [-R | --depth N] [--limit N] DIR",
    .summary = "list a directory of the capsule",
    .text = "One entry a line, by its path below DIR; a directory ends in /. Each directory comes\n"
            "before what is in it, names in the order of their bytes.",
    .options = options,
    .after = "Examples\n"
             "  guestctl ls -l /home/user\n"
             "  guestctl --json ls --depth 2 /workspace",
    .run = run,
};
