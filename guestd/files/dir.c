#include "files/dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BUFFER (32u << 10)

/* The kernel's record; not every libc declares it. */
struct record {
    uint64_t ino;
    int64_t off;
    uint16_t len;
    uint8_t type;
    char name[];
};

void dir_init(struct dir *dir, int fd) {
    *dir = (struct dir){.fd = fd};
}

void dir_suspend(struct dir *dir) {
    free(dir->buffer);
    dir->buffer = NULL;
    dir->at = dir->len = 0;
    if (dir->fd >= 0)
        close(dir->fd);
    dir->fd = -1;
}

void dir_deinit(struct dir *dir) {
    dir_suspend(dir);
}

int dir_resume(struct dir *dir, int fd) {
    dir->fd = fd;
    return dir->next && lseek(fd, dir->next, SEEK_SET) < 0 ? -errno : 0;
}

int dir_rewind(struct dir *dir) {
    dir->at = dir->len = 0;
    dir->next = 0;
    return lseek(dir->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int fill(struct dir *dir) {
    if (!dir->buffer)
        dir->buffer = malloc(BUFFER);
    if (!dir->buffer)
        return -ENOMEM;
    long n = syscall(SYS_getdents64, dir->fd, dir->buffer, BUFFER);
    if (n < 0)
        return -errno;
    dir->at = 0;
    dir->len = (uint32_t)n;
    return n > 0;
}

int dir_next(struct dir *dir, const char **ret_name, unsigned char *ret_type) {
    for (;;) {
        if (dir->at >= dir->len) {
            int r = fill(dir);
            if (r <= 0)
                return r;
        }
        const struct record *record = (const void *)(dir->buffer + dir->at);
        dir->at += record->len;
        dir->next = record->off;
        if (!strcmp(record->name, ".") || !strcmp(record->name, ".."))
            continue;
        *ret_name = record->name;
        *ret_type = record->type;
        return 1;
    }
}
