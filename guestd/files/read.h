/*
 * Reading a regular file. A device, FIFO or socket is never opened (opening can act, reading can
 * last for ever).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Returns an fd with its size in *ret_size, -errno (-EISDIR), or FILES_NOT_REGULAR with *ret_fd −1.
 */
int read_open(const char *path, int *ret_fd, uint64_t *ret_size);

/* Fills `out` as far as the file goes. Returns 0 or -errno; *ret_len < len, or *ret_eof with all of
 * it, means the end. */
int read_at(int fd, uint64_t off, void *out, size_t len, size_t *ret_len, bool *ret_eof);
