#include "proto/client/sha256.h"

#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

int sha256_file(const char *path, char text[SHA256_TEXT]) {
    int fd = open(path, O_RDONLY | O_CLOEXEC), r = 0;
    uint8_t digest[SHA256_DIGEST_LENGTH], data[32 << 10];
    SHA2_CTX context;
    ssize_t n;

    if (fd < 0)
        return -errno;
    SHA256Init(&context);
    while ((n = read(fd, data, sizeof(data))) != 0 && r == 0) {
        if (n > 0)
            SHA256Update(&context, data, (size_t)n);
        else if (errno != EINTR)
            r = -errno;
    }
    close(fd);
    SHA256Final(digest, &context);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return r;
}
