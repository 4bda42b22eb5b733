#include "agent/childenv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "link.h"

struct item {
    const char *name;
    size_t name_len;
    const char *value; /* NULL: unset */
    size_t rank;       /* where it came from: the highest wins */
};

static int by_name_then_rank(const void *left, const void *right) {
    const struct item *a = left, *b = right;
    size_t shorter = a->name_len < b->name_len ? a->name_len : b->name_len;
    int r = memcmp(a->name, b->name, shorter);

    if (r)
        return r;
    if (a->name_len != b->name_len)
        return a->name_len < b->name_len ? -1 : 1;
    return a->rank < b->rank ? -1 : 1;
}

static bool same_name(const struct item *a, const struct item *b) {
    return a->name_len == b->name_len && !memcmp(a->name, b->name, a->name_len);
}

static void add(struct item *items, size_t *n, const char *name, const char *value) {
    items[*n] = (struct item){name, strlen(name), value, *n};
    ++*n;
}

static size_t collect(const struct childenv *in, struct item *items) {
    size_t n = 0;

    add(items, &n, "PATH", CHILDENV_PATH);
    for (const char *const *own = in->own; *own; own++) {
        const char *equals = strchr(*own, '=');

        items[n] = (struct item){*own, (size_t)(equals - *own), equals + 1, n};
        n++;
    }
    /* The place of configure's envs is here. */
    add(items, &n, "HOME", in->home);
    add(items, &n, "USER", in->user);
    add(items, &n, "LOGNAME", in->user);
    add(items, &n, "SHELL", in->shell);
    if (in->term)
        add(items, &n, "TERM", in->term);
    for (size_t i = 0; in->envs && i < in->envs->n; i++)
        add(items, &n, in->envs->v[i].name, in->envs->v[i].value);
    if (in->mark)
        add(items, &n, "GUESTD_JOB", in->mark);
    return n;
}

int childenv_append(const struct childenv *in, msgpack_sbuffer *out, uint32_t *ret_n,
                    const char **ret_path) {
    size_t most = 7 + (in->envs ? in->envs->n : 0), n;
    struct item *items;
    uint32_t kept = 0;
    int failed = 0;

    for (const char *const *own = in->own; *own; own++)
        most++;
    items = malloc(most * sizeof(*items));
    if (!items)
        return -ENOMEM;
    n = collect(in, items);
    qsort(items, n, sizeof(*items), by_name_then_rank);
    *ret_path = CHILDENV_PATH;
    for (size_t i = 0; i < n; i++) {
        const struct item *item = &items[i];

        if (!item->value || (i + 1 < n && same_name(item, item + 1)))
            continue;
        if (item->name_len == 4 && !memcmp(item->name, "PATH", 4))
            *ret_path = item->value;
        failed |= msgpack_sbuffer_write(out, item->name, item->name_len);
        failed |= msgpack_sbuffer_write(out, "=", 1);
        failed |= msgpack_sbuffer_write(out, item->value, strlen(item->value) + 1);
        kept++;
    }
    free(items);
    *ret_n = kept;
    return failed ? -ENOMEM : 0;
}

int childenv_candidates(const char *cmd, const char *path, msgpack_sbuffer *out) {
    size_t cmd_size = strlen(cmd) + 1;
    int n = 0;

    if (strchr(cmd, '/'))
        return msgpack_sbuffer_write(out, cmd, cmd_size) ? -ENOMEM : 1;
    for (const char *part = path;; part++) {
        size_t len = strcspn(part, ":");
        int failed = msgpack_sbuffer_write(out, len ? part : ".", len ? len : 1);

        failed |= msgpack_sbuffer_write(out, "/", 1);
        failed |= msgpack_sbuffer_write(out, cmd, cmd_size);
        if (failed)
            return -ENOMEM;
        /* A PATH of nothing but colons would have cmd copied a million times. */
        if (out->size > LINK_SPEC_MAX)
            return -E2BIG;
        n++;
        part += len;
        if (!*part)
            return n;
    }
}
