#include "files/etc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIELDS_MAX 7

static size_t read_regular(int fd, char *out, size_t cap) {
    struct stat st;
    size_t len = 0;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size > cap)
        return 0;
    while (len < cap) {
        ssize_t n = read(fd, out + len, cap - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        len += (size_t)n;
    }
    return len;
}

char *etc_load(const char *path) {
    struct stat st;
    size_t len = 0, cap = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > 0 && st.st_size <= (off_t)ETC_MAX)
        cap = (size_t)st.st_size;
    char *text = malloc(cap + 1);
    if (text && cap)
        len = read_regular(fd, text, cap);
    if (fd >= 0)
        close(fd);
    if (text)
        text[len] = '\0';
    return text;
}

bool etc_text_is(struct etc_text text, const char *string, size_t len) {
    return text.len == len && memcmp(text.at, string, len) == 0;
}

bool etc_has_member(struct etc_text members, const char *name, size_t len) {
    const char *at = members.at, *end = members.at + members.len;

    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma ? comma : end;
        if ((size_t)(stop - at) == len && memcmp(at, name, len) == 0)
            return true;
        at = stop + 1;
    }
    return false;
}

bool etc_parse_id(const char *text, size_t len, unsigned *ret) {
    uint64_t id = 0;

    if (len == 0 || len > 10)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        id = id * 10 + (uint64_t)(text[i] - '0');
    }
    if (id >= UINT32_MAX)
        return false;
    *ret = (unsigned)id;
    return true;
}

/* Splits the line at *cursor at its colons; returns how many fields it has (FIELDS_MAX + 1: too
 * many), 0 at the end. */
static size_t split(const char **cursor, struct etc_text fields[FIELDS_MAX]) {
    const char *at = *cursor;
    size_t n = 0;

    if (*at == '\0')
        return 0;
    for (;;) {
        size_t len = strcspn(at, ":\n");
        if (n < FIELDS_MAX)
            fields[n] = (struct etc_text){at, len};
        n++;
        at += len;
        if (*at != ':')
            break;
        at++;
    }
    *cursor = *at ? at + 1 : at;
    return n > FIELDS_MAX ? FIELDS_MAX + 1 : n;
}

/* NIS's "+name" and "-name" lines are not users, and a comment is none either. */
static bool is_name(struct etc_text name) {
    return name.len > 0 && name.at[0] != '+' && name.at[0] != '-' && name.at[0] != '#';
}

bool etc_next_user(const char **cursor, struct etc_user *ret) {
    struct etc_text f[FIELDS_MAX];
    unsigned uid, gid;

    for (size_t n = split(cursor, f); n; n = split(cursor, f)) {
        if (n != 7 || !is_name(f[0]) || !etc_parse_id(f[2].at, f[2].len, &uid) ||
            !etc_parse_id(f[3].at, f[3].len, &gid))
            continue;
        *ret = (struct etc_user){.name = f[0], .home = f[5], .shell = f[6], .uid = uid, .gid = gid};
        return true;
    }
    return false;
}

bool etc_next_group(const char **cursor, struct etc_group *ret) {
    struct etc_text f[FIELDS_MAX];
    unsigned gid;

    for (size_t n = split(cursor, f); n; n = split(cursor, f)) {
        if ((n != 4 && n != 3) || !is_name(f[0]) || !etc_parse_id(f[2].at, f[2].len, &gid))
            continue;
        struct etc_text members = n == 4 ? f[3] : (struct etc_text){f[2].at, 0};
        *ret = (struct etc_group){.name = f[0], .members = members, .gid = gid};
        return true;
    }
    return false;
}
