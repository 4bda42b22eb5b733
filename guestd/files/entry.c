#include "files/entry.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "files/path.h"
#include "files/statx.h"

static const struct {
    unsigned format;
    char letter;
    const char *name;
} types[] = {
    [ENTRY_FILE] = {S_IFREG, '-', "file"},
    [ENTRY_DIRECTORY] = {S_IFDIR, 'd', "directory"},
    [ENTRY_SYMLINK] = {S_IFLNK, 'l', "symlink"},
    [ENTRY_FIFO] = {S_IFIFO, 'p', "fifo"},
    [ENTRY_SOCKET] = {S_IFSOCK, 's', "socket"},
    [ENTRY_CHAR_DEVICE] = {S_IFCHR, 'c', "char_device"},
    [ENTRY_BLOCK_DEVICE] = {S_IFBLK, 'b', "block_device"},
};

static enum entry_type type_of(unsigned mode) {
    enum entry_type type = ENTRY_BLOCK_DEVICE;

    while (type != ENTRY_FILE && types[type].format != (mode & S_IFMT))
        type--;
    return type;
}

const char *entry_type_name(enum entry_type type) {
    return types[type].name;
}

void entry_reader_deinit(struct entry_reader *reader) {
    names_deinit(&reader->names);
}

/* x, or what the bit above it makes of it. */
static char execute(unsigned x, unsigned special, char with, char without) {
    if (special)
        return x ? with : without;
    return x ? 'x' : '-';
}

void entry_permissions(unsigned mode, char out[11]) {
    out[0] = types[type_of(mode)].letter;
    for (unsigned i = 0; i < 3; i++) {
        unsigned bits = mode >> (6 - 3 * i);
        out[1 + 3 * i] = bits & 4 ? 'r' : '-';
        out[2 + 3 * i] = bits & 2 ? 'w' : '-';
    }
    out[3] = execute(mode & S_IXUSR, mode & S_ISUID, 's', 'S');
    out[6] = execute(mode & S_IXGRP, mode & S_ISGID, 's', 'S');
    out[9] = execute(mode & S_IXOTH, mode & S_ISVTX, 't', 'T');
    out[10] = '\0';
}

static void fill(struct entry_reader *reader, const struct statx *st, const char *path,
                 struct entry *ret) {
    *ret = (struct entry){
        .name = path_name(path),
        .path = path,
        .type = type_of(st->stx_mode),
        .size = st->stx_size,
        .mode = st->stx_mode & 07777,
        .owner = names_user(&reader->names, st->stx_uid),
        .group = names_group(&reader->names, st->stx_gid),
        .modified_at = st->stx_mtime.tv_sec,
    };
    entry_permissions(st->stx_mode, ret->permissions);
}

int entry_read(struct entry_reader *reader, int dir, const char *name, bool follow,
               const char *path, struct entry *ret) {
    const int flags = AT_NO_AUTOMOUNT | (follow ? 0 : AT_SYMLINK_NOFOLLOW);
    struct statx st;

    if (statx_at(dir, name, flags, STATX_BASIC_STATS, &st) < 0)
        return -errno;
    fill(reader, &st, path, ret);
    if (ret->type == ENTRY_SYMLINK) {
        ssize_t n = readlinkat(dir, name, reader->target, PATH_MAX);
        if (n < 0)
            return -errno;
        reader->target[n] = '\0';
        ret->symlink_target = reader->target;
    }
    return 0;
}

int entry_read_fd(struct entry_reader *reader, int fd, const char *path, struct entry *ret) {
    struct statx st;

    if (statx_at(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) < 0)
        return -errno;
    fill(reader, &st, path, ret);
    return 0;
}
