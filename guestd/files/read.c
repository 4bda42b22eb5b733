#include "files/read.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/files.h"

static int check(int fd, uint64_t *ret_size) {
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    if (!S_ISREG(st.st_mode))
        return FILES_NOT_REGULAR;
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

int read_open(const char *path, int *ret_fd, uint64_t *ret_size) {
    /* O_NONBLOCK and the second check: the path may lead elsewhere the second time. */
    static const int flags[] = {O_PATH, O_RDONLY | O_NONBLOCK | O_NOCTTY};
    int fd = -1;

    *ret_fd = -1;
    for (unsigned i = 0; i < 2; i++) {
        fd = open(path, flags[i] | O_CLOEXEC);
        if (fd < 0)
            return errno == ENXIO ? FILES_NOT_REGULAR : -errno;
        int r = check(fd, ret_size);
        if (r != 0 || i == 0)
            close(fd);
        if (r != 0)
            return r;
    }
    *ret_fd = fd;
    return 0;
}

static ssize_t read_some(int fd, uint64_t off, void *out, size_t len) {
    ssize_t n;

    do
        n = pread(fd, out, len, (off_t)off);
    while (n < 0 && errno == EINTR);
    /* What would wait (the kernel's log, as a file of /proc) has nothing more for now. */
    if (n < 0 && errno == EAGAIN)
        return 0;
    return n < 0 ? -errno : n;
}

int read_at(int fd, uint64_t off, void *out, size_t len, size_t *ret_len, bool *ret_eof) {
    size_t done = 0;
    char probe;

    *ret_eof = off > INT64_MAX - len;
    while (done < len && !*ret_eof) {
        ssize_t n = read_some(fd, off + done, (char *)out + done, len - done);
        if (n < 0)
            return (int)n;
        *ret_eof = n == 0;
        done += (size_t)n;
    }
    /* Files of /proc have no size: only a read past what was read tells the end. */
    if (!*ret_eof) {
        ssize_t n = read_some(fd, off + done, &probe, 1);
        *ret_eof = n == 0;
    }
    *ret_len = done;
    return 0;
}
