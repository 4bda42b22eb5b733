#include "files/descent.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/files.h"
#include "files/statx.h"

#define OPEN_BELOW (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)

int descent_is_mount(int fd, const uint64_t *dev_or_null, uint64_t *ret_dev, uint64_t *ret_ino) {
    struct statx st;

    if (statx_at(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, STATX_TYPE | STATX_INO, &st) < 0)
        return -errno;
    *ret_dev = (uint64_t)st.stx_dev_major << 32 | st.stx_dev_minor;
    *ret_ino = st.stx_ino;
    if (st.stx_attributes_mask & st.stx_attributes & STATX_ATTR_MOUNT_ROOT)
        return 1;
    return dev_or_null && *dev_or_null != *ret_dev;
}

static int push(struct descent *descent, int fd, uint64_t dev, uint64_t ino, size_t path_len) {
    if (descent->n == descent->cap) {
        size_t cap = descent->cap ? descent->cap * 2 : 16;
        struct step *steps = realloc(descent->steps, cap * sizeof(*steps));
        if (!steps)
            return -ENOMEM;
        descent->steps = steps;
        descent->cap = cap;
    }
    struct step *step = &descent->steps[descent->n++];
    *step = (struct step){.dev = dev, .ino = ino, .path_len = path_len};
    dir_init(&step->dir, fd);
    /* The first stays open: it is where the whole walk belongs. */
    if (descent->n > DESCENT_FDS + 1)
        dir_suspend(&descent->steps[descent->n - 1 - DESCENT_FDS].dir);
    return 0;
}

static int reserve(struct descent *descent, size_t len) {
    if (len <= descent->path_cap)
        return 0;
    size_t cap = len + len / 2 + 256;
    char *path = realloc(descent->path, cap);
    if (!path)
        return -ENOMEM;
    descent->path = path;
    descent->path_cap = cap;
    return 0;
}

int descent_init(struct descent *descent, int fd, const char *path) {
    const size_t len = strlen(path);
    uint64_t dev = 0, ino = 0;

    *descent = (struct descent){0};
    int r = descent_is_mount(fd, NULL, &dev, &ino);
    if (r >= 0)
        r = reserve(descent, len + 1);
    if (r == 0) {
        memcpy(descent->path, path, len + 1);
        /* "/" and "name" are joined by one slash, not two. */
        r = push(descent, fd, dev, ino, len == 1 ? 0 : len);
    }
    if (r < 0) {
        close(fd);
        descent_deinit(descent);
    }
    return r;
}

void descent_deinit(struct descent *descent) {
    for (size_t i = 0; i < descent->n; i++)
        dir_deinit(&descent->steps[i].dir);
    free(descent->steps);
    free(descent->path);
    *descent = (struct descent){0};
}

struct step *descent_top(struct descent *descent) {
    return &descent->steps[descent->n - 1];
}

const char *descent_child(struct descent *descent, const char *name) {
    const size_t at = descent_top(descent)->path_len, len = strlen(name);

    if (reserve(descent, at + 1 + len + 1) < 0)
        return NULL;
    descent->path[at] = '/';
    memcpy(descent->path + at + 1, name, len + 1);
    return descent->path;
}

int descent_down(struct descent *descent, const char *name, bool one_file_system) {
    struct step *top = descent_top(descent);
    uint64_t dev = 0, ino = 0;

    /* FUSE may show longer ones. */
    if (strlen(name) > NAME_MAX)
        return -ENAMETOOLONG;
    int fd = openat(top->dir.fd, name, OPEN_BELOW);
    if (fd < 0)
        return -errno;
    int r = descent_is_mount(fd, &top->dev, &dev, &ino);
    if (r > 0)
        r = one_file_system ? FILES_MOUNT_POINT : 0;
    const char *path = descent_child(descent, name);
    if (r == 0)
        r = path ? push(descent, fd, dev, ino, strlen(path)) : -ENOMEM;
    if (r != 0)
        close(fd);
    return r;
}

int descent_up(struct descent *descent) {
    struct step *left = descent_top(descent), *top = left - 1;
    uint64_t dev = 0, ino = 0;
    int r = 0;

    if (top->dir.fd < 0) {
        int fd = openat(left->dir.fd, "..", OPEN_BELOW);
        r = fd < 0 ? -errno : descent_is_mount(fd, NULL, &dev, &ino);
        if (r >= 0)
            r = dev == top->dev && ino == top->ino ? dir_resume(&top->dir, fd) : -ESTALE;
        /* dir_resume has taken the fd by the time it fails. */
        if (r < 0 && fd >= 0 && top->dir.fd != fd)
            close(fd);
    }
    dir_deinit(&left->dir);
    descent->n--;
    descent->path[top->path_len ? top->path_len : 1] = '\0';
    return r;
}
