#include "supervisor/group_procs.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LEVELS_MOST 16
#define GROUPS_MOST 256

static int read_procs(int above, const char *name, struct pids *ret) {
    char path[NAME_MAX + sizeof "/cgroup.procs"], text[4096];
    snprintf(path, sizeof path, "%s/cgroup.procs", name);
    int fd = openat(above, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len;
    pid_t pid = 0;
    while ((len = read(fd, text, sizeof text)) > 0) {
        for (ssize_t i = 0; i < len; i++) {
            if (text[i] != '\n') {
                pid = pid * 10 + (text[i] - '0');
                continue;
            }
            if (pid > 0)
                pids_add(ret, pid);
            pid = 0;
        }
    }
    close(fd);
    return 0;
}

/* A directory has two links, and one more for each in it; most groups have none. */
static bool has_groups(int above, const char *name) {
    struct stat found;
    return fstatat(above, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_nlink > 2;
}

static void add_below(int above, const char *name, unsigned level, unsigned *left,
                      struct pids *ret) {
    if (level == LEVELS_MOST || !has_groups(above, name))
        return;
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL && fd >= 0)
        close(fd);
    for (struct dirent *entry; directory != NULL && *left > 0;) {
        entry = readdir(directory);
        if (entry == NULL)
            break;
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        --*left;
        read_procs(fd, entry->d_name, ret);
        add_below(fd, entry->d_name, level + 1, left, ret);
    }
    if (directory != NULL)
        closedir(directory);
}

int group_procs(int above, const char *name, struct pids *ret) {
    unsigned left = GROUPS_MOST;
    int err = read_procs(above, name, ret);
    if (err == 0)
        add_below(above, name, 0, &left, ret);
    return err;
}
