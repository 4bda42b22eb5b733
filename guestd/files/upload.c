#include "files/upload.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "files/files.h"
#include "files/litter.h"
#include "files/tree_mkdir.h"
#include "files/upload_stage.h"

#define COPY_STEP (256u << 10)
#define CHANGED_MAX 8

static int find_place(struct upload *upload) {
    const struct upload_request *request = &upload->request;
    bool created;

    int r = place_find(request->path, &upload->place);
    if (r != -ENOENT || !request->create_parents)
        return r;
    char *parent = strndup(request->path, path_parent_len(request->path));
    if (!parent)
        return -ENOMEM;
    const struct tree_mkdir mkdir = {.path = parent, .mode = 0755, .parents = true};
    int fd = tree_mkdir(&mkdir, &created);
    free(parent);
    if (fd < 0)
        return fd;
    close(fd);
    return place_find(request->path, &upload->place);
}

/* A user who may not write the file may not replace it either, though the directory would allow it.
 * A running program can't be written, but replaced. */
static int may_write(const struct place *place) {
    int fd =
        openat(place->dir, place->name, O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0)
        return errno == ETXTBSY ? 0 : -errno;
    close(fd);
    return 0;
}

static int open_target(struct upload *upload) {
    const struct upload_request *request = &upload->request;
    const struct place *place = &upload->place;

    if (place->exists && S_ISDIR(place->st.st_mode))
        return -EISDIR;
    if (place->exists && !S_ISREG(place->st.st_mode))
        return FILES_NOT_REGULAR;
    if (request->way >= UPLOAD_IN_PLACE)
        return upload_open_in_place(upload);
    int r = 0;
    if (place->exists && !place->magic)
        r = may_write(place);
    if (r < 0)
        return r;
    r = place->magic ? -EOPNOTSUPP : upload_stage(upload);
    /* What must be checked before it is published can't be written in place piece by piece. */
    const bool checked = request->sha256 || request->has_size;
    if (r < 0 && place->exists && request->way == UPLOAD_REPLACE && !checked &&
        upload_can_not_stage(r))
        return upload_open_in_place(upload);
    return r;
}

int upload_begin(struct upload *upload, const struct upload_request *request) {
    *upload = (struct upload){.request = *request, .fd = -1, .place.dir = -1};
    SHA256Init(&upload->digest);
    int r = upload_as_user(upload);
    if (r < 0)
        return FILES_USER_REFUSED;
    /* EEXIST: somebody made the file between the look and the open. */
    r = -EEXIST;
    for (int tries = 0; r == -EEXIST && tries < CHANGED_MAX; tries++) {
        r = find_place(upload);
        if (r != 0)
            break;
        r = open_target(upload);
        if (r != 0)
            place_deinit(&upload->place);
    }
    upload_as_self(upload);
    return r;
}

static int write_all(int fd, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

int upload_write(struct upload *upload, const void *data, size_t len) {
    const struct upload_request *request = &upload->request;

    if (request->has_size && len > request->size - upload->bytes)
        return FILES_SIZE;
    if (request->sha256)
        SHA256Update(&upload->digest, data, len);
    upload->bytes += len;
    return write_all(upload->fd, data, len);
}

static int check_digest(SHA2_CTX *digest, const uint8_t *want) {
    uint8_t is[SHA256_DIGEST_LENGTH];

    SHA256Final(is, digest);
    return memcmp(is, want, sizeof(is)) ? FILES_SHA256 : 0;
}

/* The staged file's contents into the file that can't be replaced. */
static int copy_in_place(struct upload *upload) {
    const int from = upload->fd;
    uint8_t *step = malloc(COPY_STEP);

    int r = step ? upload_open_in_place(upload) : -ENOMEM;
    if (r != 0) {
        free(step);
        return r;
    }
    for (off_t off = 0; r == 0;) {
        ssize_t n = pread(from, step, COPY_STEP, off);
        if (n <= 0) {
            r = n < 0 ? -errno : 0;
            break;
        }
        r = write_all(upload->fd, step, (size_t)n);
        off += n;
    }
    free(step);
    close(from);
    return r;
}

static int sync_all(const struct upload *upload) {
    if (fsync(upload->fd) < 0)
        /* Files that live in no disk have nothing to sync. */
        return errno == EINVAL || errno == EROFS ? 0 : -errno;
    int dir = openat(upload->place.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = dir < 0 || (fsync(dir) < 0 && errno != EINVAL && errno != EROFS) ? -errno : 0;
    if (dir >= 0)
        close(dir);
    return r;
}

/* The bytes of a staged file are on the disk before its name is, so that a power cut leaves the old
 * file or the new one. */
static int publish(struct upload *upload) {
    bool in_place;

    if (upload->request.sync && fsync(upload->fd) < 0)
        return -errno;
    int r = upload_as_user(upload);
    if (r < 0)
        return r;
    r = upload_publish(upload, &in_place);
    if (in_place)
        r = copy_in_place(upload);
    upload_as_self(upload);
    return r;
}

int upload_commit(struct upload *upload, struct entry_reader *reader, struct entry *ret) {
    const struct upload_request *request = &upload->request;
    int r = 0;

    if (request->has_size && upload->bytes != request->size)
        return FILES_SIZE;
    if (request->sha256)
        r = check_digest(&upload->digest, request->sha256);
    if (r == 0 && upload->staged)
        r = publish(upload);
    if (r == 0 && request->sync)
        r = sync_all(upload);
    if (r == 0)
        r = entry_read_fd(reader, upload->fd, request->path, ret);
    return r;
}

void upload_end(struct upload *upload) {
    if (upload->temp[0])
        unlinkat(upload->place.dir, upload->temp, 0);
    litter_forget(upload->note);
    if (upload->fd >= 0)
        close(upload->fd);
    upload->fd = -1;
    upload->temp[0] = '\0';
    upload->note = 0;
    place_deinit(&upload->place);
}

int upload_whole(const struct upload_request *request, const void *data, size_t len,
                 struct entry_reader *reader, struct entry *ret) {
    struct upload_request checked = *request;
    struct upload upload;
    int r = 0;

    if (request->has_size && request->size != len)
        return FILES_SIZE;
    if (request->sha256) {
        SHA2_CTX digest;
        SHA256Init(&digest);
        SHA256Update(&digest, data, len);
        r = check_digest(&digest, request->sha256);
    }
    checked.has_size = false;
    checked.sha256 = NULL;
    if (r == 0)
        r = upload_begin(&upload, &checked);
    if (r != 0)
        return r;
    r = upload_write(&upload, data, len);
    if (r == 0)
        r = upload_commit(&upload, reader, ret);
    upload_end(&upload);
    return r;
}
