/*
 * A copy of an executable that nobody can change any more: a sealed memfd, hashed on the way, so
 * that what is executed is what the digest was of, whatever becomes of the file.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#define EXECUTABLE_MAX (UINT64_C(256) << 20)

/*
 * Returns 0 and the fd (close-on-exec, sealed against every change); FILES_NOT_REGULAR,
 * FILES_SHA256, FILES_CANCELLED (the flag was set meanwhile), -ENOEXEC (no ELF executable of this
 * machine), -EFBIG (over EXECUTABLE_MAX), or -errno. Blocks.
 */
int executable_copy(const char *path, const uint8_t sha256[32], const _Atomic(_Bool) *cancelled,
                    int *ret_fd);
