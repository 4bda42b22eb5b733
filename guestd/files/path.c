#include "files/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HOPS_MAX 40 /* as many symlinks as the kernel follows */
#define CHANGED_MAX 8

const char *path_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

size_t path_parent_len(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash != path ? (size_t)(slash - path) : 1;
}

/* Opens the directory part of text below `base`, and cuts text down to its last component. */
static int open_parent_at(int base, char *text) {
    size_t len = strlen(text);

    while (len > 1 && text[len - 1] == '/')
        text[--len] = '\0';
    char *slash = strrchr(text, '/');
    const char *dir = ".";
    if (slash == text)
        dir = "/";
    else if (slash)
        dir = text;
    if (slash && slash != text)
        *slash = '\0';
    int fd = openat(base, dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (slash)
        memmove(text, slash + 1, strlen(slash + 1) + 1);
    if (!text[0])
        strcpy(text, ".");
    return fd;
}

int path_open_parent(const char *path) {
    char text[PATH_MAX + 1];

    if (strlen(path) > PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(text, path);
    return open_parent_at(AT_FDCWD, text);
}

static bool on_proc(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* One step: text is the path below *dir; afterwards *dir holds its last component. Returns 1 when
 * that is a symlink, whose target is now text. */
static int step(int *dir, char text[PATH_MAX + 1], struct place *place) {
    int next = open_parent_at(*dir, text);

    if (next < 0)
        return next;
    if (*dir != AT_FDCWD)
        close(*dir);
    *dir = next;
    size_t len = strlen(text);
    if (len > NAME_MAX)
        return -ENAMETOOLONG;
    memcpy(place->name, text, len + 1);
    if (fstatat(*dir, place->name, &place->st, AT_SYMLINK_NOFOLLOW) < 0) {
        place->exists = false;
        return errno == ENOENT ? 0 : -errno;
    }
    place->exists = true;
    if (!S_ISLNK(place->st.st_mode))
        return 0;
    if (on_proc(*dir)) {
        place->magic = true;
        return 0;
    }
    ssize_t n = readlinkat(*dir, place->name, text, PATH_MAX);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    return 1;
}

static int find(const char *path, const struct stat *seen, struct place *ret) {
    struct place place = {0};
    char text[PATH_MAX + 1];
    int dir = AT_FDCWD, r = 1;

    strcpy(text, path);
    for (int hops = 0; r == 1; hops++)
        r = hops > HOPS_MAX ? -ELOOP : step(&dir, text, &place);
    if (r == 0 && place.magic && seen)
        place.st = *seen;
    else if (r == 0 && place.magic)
        r = -ENOENT;
    /* Somebody changed the way between the kernel's walk and this one. */
    if (r == 0 && place.exists && seen &&
        (place.st.st_dev != seen->st_dev || place.st.st_ino != seen->st_ino))
        r = -EAGAIN;
    place.dir = dir;
    if (r == 0)
        *ret = place;
    else if (dir != AT_FDCWD)
        close(dir);
    return r;
}

int place_find(const char *path, struct place *ret) {
    int r = -EAGAIN;

    if (strlen(path) > PATH_MAX)
        return -ENAMETOOLONG;
    for (int tries = 0; r == -EAGAIN && tries < CHANGED_MAX; tries++) {
        struct stat seen;
        int fd = open(path, O_PATH | O_CLOEXEC);
        bool exists = fd >= 0;
        if (!exists && errno != ENOENT)
            return -errno;
        if (exists) {
            r = fstat(fd, &seen) < 0 ? -errno : 0;
            close(fd);
            if (r < 0)
                return r;
        }
        r = find(path, exists ? &seen : NULL, ret);
    }
    return r == -EAGAIN ? -EBUSY : r;
}

void place_deinit(struct place *place) {
    if (place->dir >= 0)
        close(place->dir);
    place->dir = -1;
}
