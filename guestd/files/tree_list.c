#include "files/tree_list.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "files/sort.h"

/* The names of one directory in one block, sorted by `order`, which holds where each begins. */
struct level {
    char *text;
    uint32_t *order;
    size_t n, at;
};

static void level_deinit(struct level *level) {
    free(level->text);
    free(level->order);
    *level = (struct level){0};
}

struct names_block {
    char *text;
    size_t len, cap, n;
};

static int add(struct names_block *block, const char *name) {
    const size_t len = strlen(name) + 1;

    if (block->len + len > block->cap) {
        size_t cap = block->cap ? block->cap + block->cap / 2 : 1024;
        char *text = cap > UINT32_MAX ? NULL : realloc(block->text, cap);
        if (!text)
            return -ENOMEM;
        block->text = text;
        block->cap = cap;
    }
    memcpy(block->text + block->len, name, len);
    block->len += len;
    block->n++;
    return 0;
}

static int put_in_order(struct level *level) {
    struct sort_name *names = malloc((level->n + 1) * sizeof(*names));
    struct timespec now;
    const char *at = level->text;

    level->order = malloc((level->n + 1) * sizeof(*level->order));
    if (!names || !level->order) {
        free(names);
        return -ENOMEM;
    }
    for (size_t i = 0; i < level->n; i++) {
        names[i].name = at;
        at += strlen(at) + 1; /* NOLINT: the text holds n names */
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    sort_names(names, level->n, (uint64_t)now.tv_nsec ^ (uintptr_t)names);
    for (size_t i = 0; i < level->n; i++)
        level->order[i] = (uint32_t)(names[i].name - level->text);
    free(names);
    return 0;
}

/* Reads the names of the way's top into its level. */
static int read_level(struct tree_list *list) {
    const size_t i = list->way.n - 1;
    struct names_block block = {0};
    const char *name;
    unsigned char type;
    int r;

    if (i >= list->levels_cap) {
        size_t cap = list->levels_cap ? list->levels_cap * 2 : 16;
        struct level *levels = realloc(list->levels, cap * sizeof(*levels));
        if (!levels)
            return -ENOMEM;
        memset(levels + list->levels_cap, 0, (cap - list->levels_cap) * sizeof(*levels));
        list->levels = levels;
        list->levels_cap = cap;
    }
    struct dir *dir = &descent_top(&list->way)->dir;
    do {
        r = dir_next(dir, &name, &type);
        if (r == 1 && add(&block, name) < 0)
            r = -ENOMEM;
    } while (r == 1);
    struct level *level = &list->levels[i];
    *level = (struct level){.text = block.text, .n = block.n};
    if (r == 0)
        r = put_in_order(level);
    if (r < 0)
        level_deinit(level);
    return r;
}

int tree_list_open(struct tree_list *list, const char *path, uint64_t depth) {
    *list = (struct tree_list){.depth = depth, .path = path, .itself = depth == 0};
    if (list->itself)
        return 0;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = descent_init(&list->way, fd, path);
    return r < 0 ? r : read_level(list);
}

void tree_list_close(struct tree_list *list) {
    for (size_t i = 0; i < list->levels_cap; i++)
        level_deinit(&list->levels[i]);
    free(list->levels);
    descent_deinit(&list->way);
    entry_reader_deinit(&list->reader);
    list->levels = NULL;
    list->levels_cap = 0;
}

static bool vanished(int r) {
    return r == -ENOENT || r == -ENOTDIR || r == -ELOOP;
}

static bool refused(int r) {
    return r == -EACCES || r == -EPERM;
}

/* Into the directory that was told last. Failing is a fact of that directory, unless memory ends.
 */
static int go_down(struct tree_list *list) {
    struct level *level = &list->levels[list->way.n - 1];
    const char *name = level->text + level->order[level->at - 1];

    int r = descent_down(&list->way, name, false);
    if (r == 0) {
        r = read_level(list);
        if (r < 0 && descent_up(&list->way) < 0)
            return r;
    }
    return vanished(r) || refused(r) ? 0 : r;
}

static int read_itself(struct tree_list *list, struct entry *ret) {
    if (!list->itself)
        return 0;
    list->itself = false;
    int r = entry_read(&list->reader, AT_FDCWD, list->path, true, list->path, ret);
    return r < 0 ? r : 1;
}

int tree_list_next(struct tree_list *list, struct entry *ret) {
    if (list->depth == 0)
        return read_itself(list, ret);
    if (list->down) {
        list->down = false;
        int r = go_down(list);
        if (r < 0)
            return r;
    }
    for (;;) {
        struct level *level = &list->levels[list->way.n - 1];
        if (level->at == level->n) {
            if (list->way.n == 1)
                return 0;
            level_deinit(level);
            int r = descent_up(&list->way);
            if (r < 0)
                return r;
            continue;
        }
        const char *name = level->text + level->order[level->at++];
        const char *path = descent_child(&list->way, name);
        if (!path)
            return -ENOMEM;
        int r = entry_read(&list->reader, descent_top(&list->way)->dir.fd, name, false, path, ret);
        if (r == 0) {
            list->down = ret->type == ENTRY_DIRECTORY && list->way.n < list->depth;
            return 1;
        }
        /* A directory below that shows its names but not what they stand for (r without x). */
        if (!vanished(r) && !(refused(r) && list->way.n > 1))
            return r;
    }
}
