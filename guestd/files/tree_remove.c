#include "files/tree_remove.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/files.h"
#include "files/path.h"
#include "files/remover.h"

/* Asked before anything is touched: the kernel would say EBUSY only after the contents are gone. */
static int check(int parent, const char *name, bool *ret_directory) {
    uint64_t dev, ino, above, ignored;
    struct stat st;

    int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : descent_is_mount(parent, NULL, &above, &ignored);
    /* Only of directories does a device of its own tell a mount: overlayfs gives files another than
     * their directory. */
    if (r >= 0)
        r = descent_is_mount(fd, S_ISDIR(st.st_mode) ? &above : NULL, &dev, &ino);
    close(fd);
    *ret_directory = S_ISDIR(st.st_mode);
    return r > 0 ? FILES_MOUNT_POINT : r;
}

int tree_remove(const char *path, const _Atomic bool *cancelled, struct tree_removal *ret) {
    struct remover remover = {.cancelled = cancelled, .result = ret, .may_help = true};
    const char *name = path_name(path);
    bool directory = false;

    *ret = (struct tree_removal){0};
    if (!strcmp(name, "/"))
        return FILES_ROOT;
    if (!strcmp(name, ".") || !strcmp(name, ".."))
        return FILES_DOT;
    int parent = path_open_parent(path);
    if (parent < 0)
        return parent;
    int r = check(parent, name, &directory);
    char *parent_path = strndup(path, path_parent_len(path));
    if (r == 0 && !parent_path)
        r = -ENOMEM;
    if (r == 0)
        r = remover_run(&remover, parent, parent_path, name, directory);
    else
        close(parent);
    free(parent_path);
    return r == 0 ? ret->reason : r;
}

void tree_removal_deinit(struct tree_removal *removal) {
    free(removal->path);
    removal->path = NULL;
}
