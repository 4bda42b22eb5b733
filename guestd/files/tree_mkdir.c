#include "files/tree_mkdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/path.h"

#define OPEN_DIR (O_PATH | O_DIRECTORY | O_CLOEXEC)
#define OPEN_MADE (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The first `len` bytes of path, as the kernel walks them. */
static int open_prefix(const char *path, size_t len) {
    char text[PATH_MAX + 1];

    memcpy(text, path, len);
    text[len] = '\0';
    int fd = open(text, OPEN_DIR);
    return fd < 0 ? -errno : fd;
}

/* Exact: mkdir(2) takes bits away by the umask and adds set-group-id by the parent. */
static int set_mode(int fd, mode_t mode, bool exact) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!exact)
        mode |= st.st_mode & S_ISGID;
    return (st.st_mode & 07777) != mode && fchmod(fd, mode) < 0 ? -errno : 0;
}

/* One component: made unless it is there. Returns its fd. It is 0700 until it is in our hands. */
static int make(int dir, const char *name, mode_t mode, bool exact, bool *ret_created) {
    *ret_created = mkdirat(dir, name, 0700) == 0;
    if (!*ret_created && errno != EEXIST)
        return -errno;
    int fd = openat(dir, name, *ret_created ? OPEN_MADE : OPEN_DIR | O_NOFOLLOW);
    if (fd < 0)
        return errno == ELOOP ? -ENOTDIR : -errno;
    int r = *ret_created ? set_mode(fd, mode, exact) : 0;
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* Makes the components of `below` in `dir`, which it closes. */
static int make_below(int dir, const char *below, const struct tree_mkdir *request,
                      bool *ret_created) {
    while (*below) {
        char name[NAME_MAX + 1];
        const size_t len = strcspn(below, "/");
        if (len > NAME_MAX) {
            close(dir);
            return -ENAMETOOLONG;
        }
        memcpy(name, below, len);
        name[len] = '\0';
        below += len + (below[len] == '/');
        const bool last = !*below;
        int fd =
            make(dir, name, last ? request->mode : 0755, last && request->has_mode, ret_created);
        close(dir);
        if (fd < 0)
            return fd;
        dir = fd;
    }
    return dir;
}

int tree_mkdir(const struct tree_mkdir *request, bool *ret_created) {
    const char *path = request->path;
    size_t len = strlen(path);

    *ret_created = false;
    if (len > PATH_MAX)
        return -ENAMETOOLONG;
    int fd = open_prefix(path, len);
    /* Up to the deepest directory that is there. */
    for (unsigned missing = 1; fd == -ENOENT && len > 1; missing++) {
        if (missing > 1 && !request->parents)
            return -ENOENT;
        while (len > 1 && path[len - 1] != '/')
            len--;
        while (len > 1 && path[len - 1] == '/')
            len--;
        fd = open_prefix(path, len);
    }
    if (fd < 0)
        return fd;
    const char *below = path + len;
    while (*below == '/')
        below++;
    return make_below(fd, below, request, ret_created);
}
