#include "files/executable.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <sha2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files/files.h"
#include "files/read.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif

#define PART (256u << 10)

/* Linux 6.3 on asks to be told that a memfd is to be executed; before, it doesn't know the word. */
static int make(void) {
    unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create("guestd", flags | MFD_EXEC);

    if (fd < 0 && errno == EINVAL)
        fd = memfd_create("guestd", flags);
    return fd < 0 ? -errno : fd;
}

/* Class, byte order and machine are those of our own program. e_machine lies alike in both classes.
 */
static bool runs_here(const void *head, size_t len) {
    const Elf32_Ehdr *elf = head;
    Elf32_Ehdr own;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? pread(fd, &own, sizeof(own), 0) : -1;

    if (fd >= 0)
        close(fd);
    if (got != (ssize_t)sizeof(own) || len < sizeof(*elf))
        return false;
    return memcmp(elf->e_ident, own.e_ident, EI_VERSION + 1) == 0 &&
           elf->e_machine == own.e_machine && (elf->e_type == ET_EXEC || elf->e_type == ET_DYN);
}

static int write_all(int fd, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t n = write(fd, data, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

struct copy {
    int from, to;
    uint64_t off;
    SHA2_CTX digest;
    uint8_t part[PART];
};

static int copy_part(struct copy *copy, bool *ret_end) {
    size_t len;
    int r = read_at(copy->from, copy->off, copy->part, PART, &len, ret_end);

    if (r < 0)
        return r;
    if (copy->off == 0 && !runs_here(copy->part, len))
        return -ENOEXEC;
    copy->off += len;
    if (copy->off > EXECUTABLE_MAX)
        return -EFBIG;
    SHA256Update(&copy->digest, copy->part, len);
    return write_all(copy->to, copy->part, len);
}

static int seal(int fd) {
    int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

    if (fcntl(fd, F_ADD_SEALS, seals | F_SEAL_EXEC) < 0 && fcntl(fd, F_ADD_SEALS, seals) < 0)
        return -errno;
    return 0;
}

static int copy_all(struct copy *copy, const uint8_t sha256[32], const _Atomic(_Bool) *cancelled) {
    uint8_t is[SHA256_DIGEST_LENGTH];
    bool end = false;

    SHA256Init(&copy->digest);
    while (!end) {
        int r = *cancelled ? FILES_CANCELLED : copy_part(copy, &end);

        if (r != 0)
            return r;
    }
    SHA256Final(is, &copy->digest);
    if (memcmp(is, sha256, sizeof(is)) != 0)
        return FILES_SHA256;
    return seal(copy->to);
}

int executable_copy(const char *path, const uint8_t sha256[32], const _Atomic(_Bool) *cancelled,
                    int *ret_fd) {
    struct copy *copy = malloc(sizeof(*copy));
    uint64_t size;
    int r = copy ? read_open(path, &copy->from, &size) : -ENOMEM;

    if (r != 0) {
        free(copy);
        return r;
    }
    copy->off = 0;
    copy->to = make();
    r = copy->to < 0 ? copy->to : copy_all(copy, sha256, cancelled);
    close(copy->from);
    if (r == 0)
        *ret_fd = copy->to;
    else if (copy->to >= 0)
        close(copy->to);
    free(copy);
    return r;
}
