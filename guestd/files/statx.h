/*
 * statx(2) for every libc: musl knows it from 1.2.4 on only.
 */
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
/* After sys/stat.h, whose names win. */
#include <linux/stat.h>

#ifndef STATX_ATTR_MOUNT_ROOT
#define STATX_ATTR_MOUNT_ROOT 0x2000 /* Linux 5.8; before it only the device tells */
#endif
#ifndef AT_EMPTY_PATH
#define AT_EMPTY_PATH 0x1000
#endif
#ifndef AT_NO_AUTOMOUNT
#define AT_NO_AUTOMOUNT 0x800
#endif
#ifndef AT_STATX_DONT_SYNC
#define AT_STATX_DONT_SYNC 0x4000
#endif

static inline int statx_at(int dir, const char *name, int flags, unsigned mask, struct statx *ret) {
    return (int)syscall(SYS_statx, dir, name, flags, mask, ret);
}
