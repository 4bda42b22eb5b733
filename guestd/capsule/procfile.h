/*
 * The small texts of /proc. Private to this room.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* The file's beginning, NUL-terminated, at most size − 1 bytes. Returns its length or -errno. */
int procfile_read(const char *path, char *out, size_t size);

/* The number behind `key` at the beginning of a line ("MemTotal:  123 kB"), or 0. */
uint64_t procfile_number(const char *text, const char *key);
