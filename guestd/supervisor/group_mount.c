#include "supervisor/group_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

static FILE *open_lines(int proc, const char *path) {
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    FILE *lines = fd >= 0 ? fdopen(fd, "r") : NULL;
    if (lines == NULL && fd >= 0)
        close(fd);
    return lines;
}

/* The path of the row "0::/path". */
static int own_path(int proc, char path[PATH_MAX]) {
    FILE *lines = open_lines(proc, "self/cgroup");
    if (lines == NULL)
        return -errno;
    char *line = NULL;
    size_t room = 0;
    int err = -ENOENT;
    while (err < 0 && getline(&line, &room, lines) > 0) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, "0::", 3) == 0 && strlen(line + 3) < PATH_MAX) {
            strcpy(path, line + 3);
            err = 0;
        }
    }
    free(line);
    fclose(lines);
    return err;
}

/* Spaces and the like stand as \ooo in mountinfo. */
static void unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from != 0; to++) {
        if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] != 0 && from[3] != 0) {
            *to = (char)((from[1] - '0') * 64 + (from[2] - '0') * 8 + (from[3] - '0'));
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = 0;
}

/* The mount point of a cgroup2 whose root is an ancestor of `path`, and what of `path` is below it.
 * proc(5), mountinfo */
static int open_below(char *line, const char *path) {
    char *field[6] = {0}, *rest = line;
    for (int i = 0; i < 6; i++) {
        field[i] = strsep(&rest, " ");
        if (rest == NULL)
            return -ENOENT;
    }
    const char *type = strstr(rest, "- ");
    if (type == NULL || strncmp(type, "- cgroup2 ", strlen("- cgroup2 ")) != 0)
        return -ENOENT;
    char *root = field[3], *point = field[4];
    unescape(root);
    unescape(point);
    size_t len = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != 0))
        return -ENOENT;
    char whole[2 * PATH_MAX];
    snprintf(whole, sizeof whole, "%s/%s", point, path + len);
    int fd = open(whole, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int group_mount_open_root(int proc) {
    char path[PATH_MAX];
    struct statfs found;
    int fd = own_path(proc, path);
    if (fd < 0 || strcmp(path, "/") != 0)
        return -ENOENT;
    fd = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstatfs(fd, &found) == 0 && found.f_type == CGROUP2_SUPER_MAGIC)
        return fd;
    if (fd >= 0)
        close(fd);
    return -ENOENT;
}

int group_mount_open(int proc) {
    char path[PATH_MAX];
    int fd = own_path(proc, path);
    if (fd < 0)
        return fd;
    FILE *lines = open_lines(proc, "self/mountinfo");
    if (lines == NULL)
        return -errno;
    char *line = NULL;
    size_t room = 0;
    fd = -ENOENT;
    while (fd < 0 && getline(&line, &room, lines) > 0) {
        line[strcspn(line, "\n")] = 0;
        fd = open_below(line, path);
    }
    free(line);
    fclose(lines);
    return fd;
}
