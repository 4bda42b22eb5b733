/*
 * One thing in the file system as the contract tells it (statx(2), ls(1)).
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "files/names.h"

enum entry_type {
    ENTRY_FILE,
    ENTRY_DIRECTORY,
    ENTRY_SYMLINK,
    ENTRY_FIFO,
    ENTRY_SOCKET,
    ENTRY_CHAR_DEVICE,
    ENTRY_BLOCK_DEVICE,
};

/* The texts are borrowed: name and path from what the reader was asked, the others from the reader
 * until it reads again. */
struct entry {
    const char *name, *path;
    enum entry_type type;
    uint64_t size;
    uint32_t mode; /* the 12 permission bits */
    char permissions[11];
    const char *owner, *group;
    int64_t modified_at;        /* unix seconds */
    const char *symlink_target; /* NULL unless a symlink */
};

struct entry_reader {
    struct names names;
    char target[PATH_MAX + 1];
};

/* A zeroed reader is ready. Leaves it so. */
void entry_reader_deinit(struct entry_reader *reader);

/* "file", "directory", … */
const char *entry_type_name(enum entry_type type);

/* Reads `name` in the directory `dir` (AT_FDCWD and a path also do); `path` and its last component
 * are what the entry says. Returns 0 or -errno. */
int entry_read(struct entry_reader *reader, int dir, const char *name, bool follow,
               const char *path, struct entry *ret);

/* The same of an open file. */
int entry_read_fd(struct entry_reader *reader, int fd, const char *path, struct entry *ret);

/* "drwxr-xr-x", "-rwsr-Sr-t": type and permission bits as ls(1) prints them. */
void entry_permissions(unsigned mode, char out[11]);
