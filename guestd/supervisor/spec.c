#include "supervisor/spec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "link.h"

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)
#define GROUPS_MAX 65536u
#define FILTER_MAX 4096u /* BPF_MAXINSNS */

/* Whether the counts fit the file, and each string has its end. */
static int check(const struct link_spec *head, size_t size) {
    if (size < sizeof *head || head->magic != LINK_SPEC_MAGIC)
        return -EINVAL;
    if (head->groups > GROUPS_MAX || head->filter > FILTER_MAX || head->facts > LINK_FACTS_MAX)
        return -EINVAL;
    uint64_t before = sizeof *head + (uint64_t)head->groups * sizeof(gid_t) +
                      (uint64_t)head->filter * sizeof(struct sock_filter);
    if (before + head->strings + head->facts != size || head->argc == 0 || head->candidates == 0)
        return -EINVAL;
    uint64_t wanted = (uint64_t)head->argc + head->envc + head->candidates + 1, found = 0;
    const char *at = (const char *)head + before, *end = at + head->strings;
    while (at < end) {
        const char *nul = memchr(at, 0, (size_t)(end - at));
        if (nul == NULL)
            return -EINVAL;
        at = nul + 1;
        found++;
    }
    return found == wanted ? 0 : -EINVAL;
}

static char **take_strings(char **list, unsigned count, char **at) {
    for (unsigned i = 0; i < count; i++) {
        list[i] = *at;
        *at += strlen(*at) + 1;
    }
    list[count] = NULL;
    return list + count + 1;
}

static int take_apart(struct spec *spec, void *bytes, size_t size) {
    const struct link_spec *head = bytes;
    int err = check(head, size);
    if (err < 0)
        return err;
    size_t pointers = (size_t)head->argc + head->envc + head->candidates + 3;
    spec->argv = malloc(pointers * sizeof(char *));
    if (spec->argv == NULL)
        return -ENOMEM;

    char *at = (char *)bytes + sizeof *head;
    spec->groups = (const gid_t *)(void *)at;
    spec->n_groups = head->groups;
    at += head->groups * sizeof(gid_t);
    spec->filter.filter = (struct sock_filter *)(void *)at;
    spec->filter.len = (unsigned short)head->filter;
    at += head->filter * sizeof(struct sock_filter);
    spec->envp = take_strings(spec->argv, head->argc, &at);
    spec->candidates = take_strings(spec->envp, head->envc, &at);
    take_strings(spec->candidates, head->candidates, &at);
    spec->cwd = at;
    at += strlen(at) + 1;
    spec->facts = at;
    spec->facts_len = head->facts;
    return 0;
}

static int read_file(int fd, struct spec *spec) {
    /* The seals first: only a memfd has them, so nothing below can wait for a hung file system. */
    int seals = fcntl(fd, F_GET_SEALS);
    struct stat stat;
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &stat) < 0)
        return -EINVAL;
    if (stat.st_size > LINK_SPEC_MAX)
        return -E2BIG;
    size_t size = (size_t)stat.st_size;
    spec->copy = malloc(size + 1);
    if (spec->copy == NULL)
        return -ENOMEM;
    ssize_t got = pread(fd, spec->copy, size, 0);
    if (got != (ssize_t)size)
        return got < 0 ? -errno : -EINVAL;
    return take_apart(spec, spec->copy, size);
}

int spec_read(const struct spec_source *source, struct spec *ret) {
    struct spec spec = {0};
    int err = source->fd >= 0 ? read_file(source->fd, &spec)
                              : take_apart(&spec, source->bytes, source->len);
    if (err < 0)
        spec_deinit(&spec);
    else
        *ret = spec;
    return err;
}

void spec_deinit(struct spec *spec) {
    free(spec->argv);
    free(spec->copy);
    memset(spec, 0, sizeof *spec);
}

/* ── its source ── */

int spec_source_copy(const void *bytes, size_t len, struct spec_source *ret) {
    *ret = (struct spec_source){.fd = -1, .bytes = malloc(len), .len = len, .file = -1};
    if (ret->bytes == NULL)
        return -ENOMEM;
    memcpy(ret->bytes, bytes, len);
    return 0;
}

int spec_source_file(struct spec_source *source) {
    if (source->fd >= 0 || source->file >= 0)
        return source->fd >= 0 ? source->fd : source->file;
    int fd = memfd_create("guestd-spec", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int err = fd < 0 ? -errno : 0;
    if (err == 0 && pwrite(fd, source->bytes, source->len, 0) != (ssize_t)source->len)
        err = -ENOMEM;
    if (err == 0 && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
        err = -errno;
    if (err < 0) {
        if (fd >= 0)
            close(fd);
        return err;
    }
    return source->file = fd;
}

void spec_source_deinit(struct spec_source *source) {
    if (source->fd >= 0)
        close(source->fd);
    if (source->file >= 0)
        close(source->file);
    free(source->bytes);
    *source = (struct spec_source)SPEC_SOURCE_FD(-1);
}

/* ── making one ── */

struct strings {
    uint32_t count, bytes;
};

static struct strings measure(char *const list[]) {
    struct strings strings = {0};
    for (; list[strings.count] != NULL; strings.count++)
        strings.bytes += (uint32_t)strlen(list[strings.count]) + 1;
    return strings;
}

static char *put(char *at, char *const list[]) {
    for (; *list != NULL; list++)
        at = stpcpy(at, *list) + 1;
    return at;
}

int spec_make(char *const argv[], char *const envp[], char *const candidates[], const void *facts,
              size_t facts_len, struct spec_source *ret) {
    struct strings args = measure(argv), envs = measure(envp), paths = measure(candidates);
    struct link_spec head = {
        .magic = LINK_SPEC_MAGIC,
        .argc = args.count,
        .envc = envs.count,
        .candidates = paths.count,
        .strings = args.bytes + envs.bytes + paths.bytes + 1, /* and an empty cwd */
        .facts = (uint32_t)facts_len,
    };
    size_t size = sizeof head + head.strings + facts_len;
    char *bytes = malloc(size);
    if (bytes == NULL)
        return -ENOMEM;
    memcpy(bytes, &head, sizeof head);
    char *at = put(put(put(bytes + sizeof head, argv), envp), candidates);
    *at++ = 0;
    if (facts_len > 0)
        memcpy(at, facts, facts_len);
    *ret = (struct spec_source){.fd = -1, .bytes = bytes, .len = size, .file = -1};
    return 0;
}
