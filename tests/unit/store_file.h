/* A job's store as the supervisor lays it out, for tests of its readers. */
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guestd/link.h"

struct store_file {
    int fd;
    struct store_head *head;
    size_t len;
};

/* Two rings of `size` bytes each, then the facts. */
static inline struct store_file store_file_make(enum store_mode mode, uint64_t size,
                                                const void *facts, size_t facts_len) {
    struct store_file file = {.fd = memfd_create("store", MFD_CLOEXEC),
                              .len = STORE_PAGE + 2 * size + facts_len};

    if (ftruncate(file.fd, (off_t)file.len) < 0)
        return (struct store_file){.fd = -1};
    file.head = mmap(NULL, file.len, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
    file.head->magic = STORE_MAGIC;
    file.head->version = LINK_VERSION;
    file.head->facts_at = STORE_PAGE + 2 * size;
    file.head->facts_len = facts_len;
    for (unsigned c = 0; c < 2; c++) {
        file.head->ring[c].mode = mode;
        file.head->ring[c].at = STORE_PAGE + c * size;
        file.head->ring[c].size = size;
    }
    if (facts_len)
        memcpy((char *)file.head + file.head->facts_at, facts, facts_len);
    return file;
}

/* As the supervisor does it: counts all, keeps what the mode keeps. */
static inline void store_file_write(struct store_file *file, unsigned c, const char *bytes) {
    struct store_ring *ring = &file->head->ring[c];
    int keeps_head = ring->mode == STORE_HEAD || ring->mode == STORE_KILL;

    for (; *bytes; bytes++) {
        uint64_t end = ring->end;

        if (!keeps_head && end - ring->oldest == ring->size)
            ring->oldest++;
        if (!keeps_head || end < ring->size)
            ((char *)file->head)[ring->at + end % ring->size] = *bytes;
        ring->end = end + 1;
    }
}

static inline void store_file_close(struct store_file *file) {
    munmap(file->head, file->len);
    if (file->fd >= 0)
        close(file->fd);
}
