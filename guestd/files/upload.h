/*
 * Writing a file: as a whole, so that readers see the old one or the new one; or in place.
 *
 * The new file is staged beside the old one without a name (O_TMPFILE) or under a temporary one
 * (litter.h), gets the old one's owner, group and mode, and takes its place at the commit. Where
 * that can't be (a bind-mounted file, /proc, /sys, a directory the user may not write), the file is
 * written in place instead, unless the request insists.
 *
 * Everything here blocks; one thread at a time.
 */
#pragma once

#include <sha2.h>
#include <stdbool.h>
#include <stdint.h>

#include "files/entry.h"
#include "files/path.h"

struct identity;

enum upload_way {
    UPLOAD_REPLACE,  /* staged, in place where that can't be */
    UPLOAD_ATOMIC,   /* staged, or the error */
    UPLOAD_IN_PLACE, /* truncated and written */
    UPLOAD_APPEND,
    UPLOAD_AT, /* from `off` on, which is at most the file's size */
};

struct upload_request {
    const char *path;
    const struct identity *user; /* NULL: as guestd itself */
    mode_t mode;                 /* exact, whatever the umask */
    bool has_mode;               /* else kept, or 0644 */
    bool create_parents;
    bool sync; /* on the disk, with its directory entry, before the answer */
    bool has_size;
    uint64_t size;         /* bytes that must come, no more and no fewer */
    const uint8_t *sha256; /* 32 bytes, or NULL; only of staged files, or of upload_whole */
    enum upload_way way;
    uint64_t off;
};

struct upload {
    struct upload_request request;
    struct place place;
    int fd;
    bool staged;
    char temp[32]; /* its temporary name, "" while it has none */
    unsigned note;
    uint64_t bytes; /* written */
    SHA2_CTX digest;
};

/* Borrows what the request points to until the end. Returns 0, -errno, FILES_NOT_REGULAR,
 * FILES_NOT_OWNER or FILES_BEYOND_END; then there is nothing to end. */
int upload_begin(struct upload *upload, const struct upload_request *request);

/* Returns 0, -errno or FILES_SIZE (more than was announced). */
int upload_write(struct upload *upload, const void *data, size_t len);

/* Publishes it. Returns 0, -errno, FILES_SIZE, FILES_SHA256, FILES_NOT_REGULAR or FILES_NOT_OWNER.
 * *ret borrows from the request's path and the reader. */
int upload_commit(struct upload *upload, struct entry_reader *reader, struct entry *ret);

/* Must follow every begin that succeeded. Without a commit a staged file is dropped: the old one
 * stays, nothing else does. */
void upload_end(struct upload *upload);

/* All of it in one call. Size and digest are held against the data before anything is touched. */
int upload_whole(const struct upload_request *request, const void *data, size_t len,
                 struct entry_reader *reader, struct entry *ret);
