#include "supervisor/group_tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* A directory has two links, and one more for each in it. */
bool group_tree_is_split(int above, const char *name) {
    struct stat found;
    return fstatat(above, name, &found, AT_SYMLINK_NOFOLLOW) == 0 && found.st_nlink > 2;
}

/* ── the groups below ── */

struct visit {
    void (*each)(int above, const char *name, struct visit *visit); /* a group after those below */
    unsigned left;
    struct pids *pids;
};

static void visit_below(int above, const char *name, unsigned level, struct visit *visit) {
    if (level == LEVELS_MOST || !group_tree_is_split(above, name))
        return;
    int fd = openat(above, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL && fd >= 0)
        close(fd);
    for (struct dirent *entry; directory != NULL && visit->left > 0;) {
        entry = readdir(directory);
        if (entry == NULL)
            break;
        if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
            continue;
        visit->left--;
        visit_below(fd, entry->d_name, level + 1, visit);
        visit->each(fd, entry->d_name, visit);
    }
    if (directory != NULL)
        closedir(directory);
}

static void list_each(int above, const char *name, struct visit *visit) {
    read_procs(above, name, visit->pids);
}

static void remove_each(int above, const char *name, struct visit *visit) {
    (void)visit;
    unlinkat(above, name, AT_REMOVEDIR);
}

int group_tree_list(int above, const char *name, struct pids *ret) {
    int err = read_procs(above, name, ret);
    if (err == 0)
        visit_below(above, name, 0,
                    &(struct visit){.each = list_each, .left = GROUPS_MOST, .pids = ret});
    return err;
}

void group_tree_remove(int above, const char *name) {
    if (unlinkat(above, name, AT_REMOVEDIR) == 0)
        return;
    visit_below(above, name, 0, &(struct visit){.each = remove_each, .left = GROUPS_MOST});
    unlinkat(above, name, AT_REMOVEDIR);
}
