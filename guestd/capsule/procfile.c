#include "capsule/procfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int procfile_read(const char *path, char *out, size_t size) {
    size_t len = 0;
    ssize_t n;

    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    do {
        n = read(fd, out + len, size - 1 - len);
        len += n > 0 ? (size_t)n : 0;
    } while (n > 0 && len < size - 1);
    int r = n < 0 ? -errno : (int)len;
    close(fd);
    out[len] = '\0';
    return r;
}

uint64_t procfile_number(const char *text, const char *key) {
    const size_t len = strlen(key);

    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, key, len))
            return strtoull(line + len, NULL, 10);
    }
    return 0;
}
