#include "files/upload_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "files/files.h"
#include "files/litter.h"
#include "files/user.h"

#define NAME_TRIES 16

int upload_as_user(const struct upload *upload) {
    return upload->request.user ? identity_assume(upload->request.user) : 0;
}

void upload_as_self(const struct upload *upload) {
    if (upload->request.user)
        identity_restore();
}

/* The note belongs to guestd, whoever the file belongs to. */
static int choose_name(struct upload *upload) {
    uint64_t random;

    if (getrandom(&random, sizeof(random), 0) < 0)
        return -errno;
    snprintf(upload->temp, sizeof(upload->temp), LITTER_PREFIX "%016llx",
             (unsigned long long)random);
    upload_as_self(upload);
    upload->note = litter_note(upload->place.dir, upload->temp);
    return upload_as_user(upload);
}

static void forget_name(struct upload *upload) {
    upload_as_self(upload);
    litter_forget(upload->note);
    upload->note = 0;
    upload->temp[0] = '\0';
}

static int stage_named(struct upload *upload) {
    int r = -EEXIST;

    for (int tries = 0; r == -EEXIST && tries < NAME_TRIES; tries++) {
        r = choose_name(upload);
        if (r == 0) {
            upload->fd = openat(upload->place.dir, upload->temp,
                                O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
            r = upload->fd < 0 ? -errno : 0;
        }
        if (r < 0) {
            forget_name(upload);
            if (upload_as_user(upload) < 0)
                return -EPERM;
        }
    }
    return r;
}

int upload_stage(struct upload *upload) {
    upload->fd = openat(upload->place.dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    int r = upload->fd < 0 ? -errno : 0;
    /* What file systems and kernels without O_TMPFILE say. */
    if (r == -EOPNOTSUPP || r == -EISDIR || r == -EINVAL || r == -ENOENT || r == -ENOSYS)
        r = stage_named(upload);
    upload->staged = r == 0;
    return r;
}

bool upload_can_not_stage(int err) {
    switch (err) {
    case -EACCES:
    case -EPERM:
    case -EROFS:
    case -ENOENT: /* /proc */
    case -EOPNOTSUPP:
    case -EINVAL:
    case -EBUSY: /* somebody mounted something on the file */
    case -EXDEV:
    case -ETXTBSY:
        return true;
    default:
        return false;
    }
}

/* A file that somebody else owns may be written by its group; its owner stays. Such a writer takes
 * the set-id bits away, as the kernel does when it is written in place. */
static int set_attributes(struct upload *upload, const struct stat *old) {
    const struct upload_request *request = &upload->request;
    const bool plain = request->user && request->user->uid != 0;
    mode_t mode = request->has_mode ? request->mode : old ? old->st_mode & 07777 : 0644;
    struct stat st;
    int r = 0;

    if (fstat(upload->fd, &st) < 0)
        return -errno;
    if (old && plain && old->st_uid != request->user->uid && request->has_mode &&
        mode != (old->st_mode & 07777))
        return FILES_NOT_OWNER;
    if (old && plain && !request->has_mode)
        mode &= ~(mode_t)(S_ISUID | (mode & S_IXGRP ? S_ISGID : 0));
    if (old && (st.st_uid != old->st_uid || st.st_gid != old->st_gid)) {
        upload_as_self(upload);
        if (fchown(upload->fd, old->st_uid, old->st_gid) < 0 || fchmod(upload->fd, mode) < 0)
            r = -errno;
        return upload_as_user(upload) < 0 ? -EPERM : r;
    }
    return fchmod(upload->fd, mode) < 0 ? -errno : 0;
}

/* Gives a file without a name one. AT_EMPTY_PATH wants a capability that the user has not, the
 * other way wants /proc. */
static int link_to(struct upload *upload, const char *name) {
    const int dir = upload->place.dir;
    char path[32];

    if (linkat(upload->fd, "", dir, name, AT_EMPTY_PATH) == 0)
        return 0;
    if (errno == EEXIST)
        return -EEXIST;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", upload->fd);
    return linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int link_to_temp(struct upload *upload) {
    int r = -EEXIST;

    for (int tries = 0; r == -EEXIST && tries < NAME_TRIES; tries++) {
        r = choose_name(upload);
        if (r == 0)
            r = link_to(upload, upload->temp);
        if (r < 0) {
            forget_name(upload);
            if (upload_as_user(upload) < 0)
                return -EPERM;
        }
    }
    return r;
}

/* The place may have changed while the data came. */
static int look_again(struct place *place) {
    if (fstatat(place->dir, place->name, &place->st, AT_SYMLINK_NOFOLLOW) < 0) {
        place->exists = false;
        return errno == ENOENT ? 0 : -errno;
    }
    place->exists = true;
    if (S_ISREG(place->st.st_mode))
        return 0;
    return S_ISDIR(place->st.st_mode) ? -EISDIR : FILES_NOT_REGULAR;
}

/* Takes the place of the file that is there. */
static int replace(struct upload *upload) {
    const struct place *place = &upload->place;

    int r = upload->temp[0] ? 0 : link_to_temp(upload);
    /* After the link: the kernel lets nobody link a file that isn't theirs. */
    if (r == 0)
        r = set_attributes(upload, place->exists ? &place->st : NULL);
    if (r == 0 && renameat(place->dir, upload->temp, place->dir, place->name) < 0)
        r = -errno;
    return r;
}

int upload_publish(struct upload *upload, bool *ret_in_place) {
    struct place *place = &upload->place;

    *ret_in_place = false;
    int r = look_again(place);
    if (r == 0 && !place->exists && !upload->temp[0]) {
        r = set_attributes(upload, NULL);
        if (r == 0)
            r = link_to(upload, place->name);
        if (r != -EEXIST)
            return r;
        r = look_again(place);
    }
    if (r == 0)
        r = replace(upload);
    if (r == 0) {
        forget_name(upload);
        return upload_as_user(upload);
    }
    *ret_in_place =
        place->exists && upload->request.way == UPLOAD_REPLACE && upload_can_not_stage(r);
    return r;
}

int upload_open_in_place(struct upload *upload) {
    const struct upload_request *request = &upload->request;
    const struct place *place = &upload->place;
    int flags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
    struct stat st;
    int r = 0;

    flags |= place->magic ? 0 : O_NOFOLLOW;
    flags |= request->way == UPLOAD_APPEND ? O_APPEND : 0;
    flags |= place->exists ? 0 : O_CREAT | O_EXCL;
    int fd = openat(place->dir, place->name, flags, 0600);
    if (fd < 0)
        return errno == ENXIO ? FILES_NOT_REGULAR : -errno;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode))
        r = FILES_NOT_REGULAR;
    else if (request->way == UPLOAD_AT && request->off > (uint64_t)st.st_size)
        r = FILES_BEYOND_END;
    else if (request->way == UPLOAD_AT && lseek(fd, (off_t)request->off, SEEK_SET) < 0)
        r = -errno;
    if (r == 0 && (request->has_mode || !place->exists) &&
        fchmod(fd, request->has_mode ? request->mode : 0644) < 0)
        r = errno == EPERM ? FILES_NOT_OWNER : -errno;
    /* Last, when nothing can refuse any more. Files of /proc and /sys are empty already. */
    if (r == 0 && request->way <= UPLOAD_IN_PLACE && st.st_size > 0 && ftruncate(fd, 0) < 0)
        r = -errno;
    if (r != 0) {
        close(fd);
        return r;
    }
    upload->fd = fd;
    return 0;
}
