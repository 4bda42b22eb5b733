#include "supervisor/saved.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervisor/store.h"
#include "version.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW) /* of a whole one */

static size_t padded(size_t len) {
    return (len + 7) & ~(size_t)7;
}

/* ── writing ── */

/* One record, or the head: all of it, at the end. */
static void append(struct saved_writer *writer, struct iovec *part, int parts) {
    while (parts > 0 && writer->err == 0) {
        ssize_t n = writev(writer->file, part, parts);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            writer->err = -errno;
        for (; parts > 0 && n >= (ssize_t)part->iov_len; part++, parts--) {
            n -= (ssize_t)part->iov_len;
            writer->len += part->iov_len;
        }
        if (parts > 0 && n > 0) {
            part->iov_base = (uint8_t *)part->iov_base + n;
            part->iov_len -= (size_t)n;
            writer->len += (size_t)n;
        }
    }
}

void saved_begin(struct saved_writer *writer, int32_t executable) {
    *writer = (struct saved_writer){
        .file = memfd_create("guestd-state", MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (writer->file < 0)
        writer->err = -errno;
    struct saved_head head = {
        .magic = SAVED_MAGIC,
        .version = guestd_saved_version,
        .least = SAVED_LEAST,
        .executable = executable,
        .pid = getpid(),
    };
    snprintf(head.build, sizeof head.build, "%s", guestd_version);
    append(writer, &(struct iovec){.iov_base = &head, .iov_len = sizeof head}, 1);
    saved_fd(writer, executable);
}

void saved_put(struct saved_writer *writer, enum saved_type type, const void *bytes, size_t len) {
    static const uint8_t zeros[8];
    struct saved_record record = {
        .type = (uint16_t)type, .flags = SAVED_MUST, .len = (uint32_t)len};
    struct iovec part[] = {
        {.iov_base = &record, .iov_len = sizeof record},
        {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len},
        {.iov_base = (void *)(uintptr_t)zeros, .iov_len = padded(len) - len},
    };
    append(writer, part, 3);
}

int32_t saved_fd(struct saved_writer *writer, int fd) {
    if (fd < 3 || writer->err < 0)
        return -1;
    if (writer->n_fds == writer->fds_room) {
        unsigned room = writer->fds_room > 0 ? 2 * writer->fds_room : 64;
        int32_t *grown = realloc(writer->fds, room * sizeof *grown);
        if (grown == NULL) {
            writer->err = -ENOMEM;
            return -1;
        }
        writer->fds = grown;
        writer->fds_room = room;
    }
    writer->fds[writer->n_fds++] = fd;
    return fd;
}

static int by_number(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* One file may have several uses. */
static void sort_fds(struct saved_writer *writer) {
    unsigned kept = 0;
    if (writer->n_fds > 0)
        qsort(writer->fds, writer->n_fds, sizeof *writer->fds, by_number);
    for (unsigned i = 0; i < writer->n_fds; i++) {
        if (kept == 0 || writer->fds[i] != writer->fds[kept - 1])
            writer->fds[kept++] = writer->fds[i];
    }
    writer->n_fds = kept;
}

int saved_finish(struct saved_writer *writer) {
    sort_fds(writer);
    saved_put(writer, SAVED_FDS, writer->fds, writer->n_fds * sizeof *writer->fds);
    saved_put(writer, SAVED_END, NULL, 0);
    uint64_t size = writer->len;
    const off_t at = offsetof(struct saved_head, size);
    if (writer->err == 0 && pwrite(writer->file, &size, sizeof size, at) != (ssize_t)sizeof size)
        writer->err = -EIO;
    if (writer->err == 0 && fcntl(writer->file, F_ADD_SEALS, SEALS) < 0)
        writer->err = -errno;
    if (writer->err < 0)
        return writer->err;
    int file = writer->file;
    writer->file = -1;
    return file;
}

void saved_writer_deinit(struct saved_writer *writer) {
    if (writer->file >= 0)
        close(writer->file);
    free(writer->fds);
    *writer = (struct saved_writer){.file = -1};
}

/* ── reading ── */

bool saved_next(const struct saved *saved, struct saved_item *item) {
    const uint8_t *at = item->bytes != NULL ? (const uint8_t *)item->bytes + padded(item->len)
                                            : saved->bytes + sizeof(struct saved_head);
    struct saved_record record;
    memcpy(&record, at, sizeof record);
    *item =
        (struct saved_item){.type = record.type, .bytes = at + sizeof record, .len = record.len};
    return item->type != SAVED_END;
}

void saved_get(const struct saved_item *item, void *into, size_t size) {
    size_t len = item->len < size ? item->len : size;
    memcpy(into, item->bytes, len);
    memset((uint8_t *)into + len, 0, size - len);
}

static bool plausible_task(const struct saved_item *item) {
    struct saved_task task;
    saved_get(item, &task, sizeof task);
    return task.job != 0 && task.state >= SAVED_RUNNING && task.state <= SAVED_FORGOTTEN &&
           task.pid > 0 && task.ending <= LINK_REASON_LOST;
}

static bool plausible_upgrade(const struct saved_item *item) {
    struct saved_upgrade upgrade;
    saved_get(item, &upgrade, sizeof upgrade);
    return upgrade.own >= 3 && upgrade.executable >= 3 &&
           (upgrade.trying == 0 || upgrade.candidate >= 3);
}

static bool within(uint64_t at, uint64_t len, uint64_t total) {
    return at <= total && len <= total - at;
}

static bool plausible_store(const struct saved_item *item) {
    struct saved_store store;
    saved_get(item, &store, sizeof store);
    for (unsigned c = 0; c < 2; c++) {
        const struct saved_channel *channel = &store.channel[c];
        if (channel->mode > STORE_BLOCK || channel->oldest > channel->end ||
            channel->acked > channel->end || !within(channel->at, channel->size, store.mapped))
            return false;
    }
    return store.facts_len <= LINK_FACTS_MAX;
}

static bool plausible_config(const struct saved_item *item) {
    struct link_config config;
    saved_get(item, &config, sizeof config);
    return config.token_len <= LINK_TOKEN &&
           config.allow_cids <= sizeof config.allow_cid / sizeof *config.allow_cid;
}

/* Whether it may stand there; `in_task`: behind a SAVED_TASK. */
static bool plausible(const struct saved_item *item, bool in_task) {
    switch (item->type) {
    case SAVED_FDS:
        return item->len % sizeof(int32_t) == 0;
    case SAVED_ORPHANS:
        return item->len % sizeof(struct saved_orphan) == 0;
    case SAVED_CONFIG:
        return plausible_config(item);
    case SAVED_UPGRADE:
        return plausible_upgrade(item);
    case SAVED_TASK:
        return plausible_task(item);
    case SAVED_STORE:
        return in_task && plausible_store(item);
    case SAVED_HIT:
    case SAVED_ALIVE:
        return in_task && item->len % sizeof(int32_t) == 0;
    case SAVED_RESULT:
    case SAVED_TASK_GROUP:
    case SAVED_INPUT:
    case SAVED_INPUT_BYTES:
    case SAVED_INPUT_END:
        return in_task;
    default:
        return true;
    }
}

/* All of it, once, before anything is believed. */
static int look_through(const struct saved *saved) {
    size_t at = sizeof(struct saved_head);
    bool in_task = false, has_fds = false, has_supervisor = false, has_upgrade = false;
    for (;;) {
        struct saved_record record;
        if (saved->len - at < sizeof record)
            return -EBADMSG;
        memcpy(&record, saved->bytes + at, sizeof record);
        at += sizeof record;
        if (record.type == SAVED_END)
            return has_fds && has_supervisor && has_upgrade ? 0 : -EBADMSG;
        if (padded(record.len) > saved->len - at)
            return -EBADMSG;
        if (record.type > SAVED_INPUT_END && (record.flags & SAVED_MUST) != 0)
            return -EPROTONOSUPPORT;
        struct saved_item item = {
            .type = record.type, .bytes = saved->bytes + at, .len = record.len};
        in_task |= record.type == SAVED_TASK;
        has_fds |= record.type == SAVED_FDS;
        has_supervisor |= record.type == SAVED_SUPERVISOR;
        has_upgrade |= record.type == SAVED_UPGRADE;
        if (!plausible(&item, in_task))
            return -EBADMSG;
        at += padded(record.len);
    }
}

int saved_open(struct saved *saved, int fd) {
    struct stat stat;
    memset(saved, 0, sizeof *saved);
    /* Only a memfd can be sealed like this: a file of tmpfs has seals too, but takes none. */
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &stat) < 0 ||
        stat.st_size < (off_t)sizeof saved->head)
        return -EINVAL;
    size_t len = (size_t)stat.st_size;
    const uint8_t *bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED)
        return -EINVAL;
    saved->bytes = bytes;
    saved->len = len;
    memcpy(&saved->head, bytes, sizeof saved->head);
    int err = 0;
    if (saved->head.magic != SAVED_MAGIC)
        err = -EINVAL;
    else if (saved->head.least > guestd_saved_version)
        err = -EPROTONOSUPPORT;
    else if (saved->head.size != len)
        err = -EBADMSG;
    else
        err = look_through(saved);
    if (err < 0)
        saved_close(saved); /* the head stays */
    return err;
}

void saved_close(struct saved *saved) {
    if (saved->bytes != NULL)
        munmap((void *)(uintptr_t)saved->bytes, saved->len);
    saved->bytes = NULL;
    saved->len = 0;
}
