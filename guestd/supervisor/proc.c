#include "supervisor/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <sys/mount.h> has these since glibc 2.36 only. fsopen(2), fsconfig(2), fsmount(2) */
#define CONFIG_CREATE 6
#define OPEN_CLOEXEC 1
#define MOUNT_CLOEXEC 1

static int open_private(void) {
#ifdef SYS_fsopen
    int context = (int)syscall(SYS_fsopen, "proc", OPEN_CLOEXEC);
    if (context < 0)
        return -errno;
    int fd = -1;
    if (syscall(SYS_fsconfig, context, CONFIG_CREATE, NULL, NULL, 0) == 0)
        fd = (int)syscall(SYS_fsmount, context, MOUNT_CLOEXEC, 0);
    int err = fd < 0 ? -errno : 0;
    close(context);
    return err < 0 ? err : fd;
#else
    return -ENOSYS;
#endif
}

int proc_open(void) {
    int fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    char self[16] = "";
    if (fd >= 0 && readlinkat(fd, "self", self, sizeof self - 1) > 0 && atoi(self) == getpid())
        return fd;
    if (fd >= 0)
        close(fd);
    return open_private();
}

char proc_state(int proc, pid_t pid) {
    char path[24], text[128] = "";
    snprintf(path, sizeof path, "%d/stat", (int)pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    /* The name may hold brackets itself, and is 15 bytes at most. */
    const char *end = len > 0 ? strrchr(text, ')') : NULL;
    return end != NULL && end[1] == ' ' ? end[2] : 0;
}
