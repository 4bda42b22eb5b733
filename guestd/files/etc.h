/*
 * /etc/passwd and /etc/group as text, line by line: passwd(5), group(5). No NSS: a static program
 * can't load it, and a capsule's users are in these files.
 *
 * Both belong to the capsule and so are not trusted: opened O_NONBLOCK (a FIFO must not hang),
 * regular files only, at most 1 MiB. A line that doesn't parse is skipped.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define ETC_MAX (1u << 20)

/* A part of the text, not NUL-terminated. */
struct etc_text {
    const char *at;
    size_t len;
};

struct etc_user {
    struct etc_text name, home, shell;
    uid_t uid;
    gid_t gid;
};

struct etc_group {
    struct etc_text name, members; /* members: "a,b,c" */
    gid_t gid;
};

/* The whole file, NUL-terminated and on the heap; "" when it is missing or isn't usable. NULL: no
 * memory. */
char *etc_load(const char *path);

/* The next valid line at *cursor, which moves past it; false at the end. */
bool etc_next_user(const char **cursor, struct etc_user *ret);
bool etc_next_group(const char **cursor, struct etc_group *ret);

bool etc_text_is(struct etc_text text, const char *string, size_t len);
bool etc_has_member(struct etc_text members, const char *name, size_t len);

/* Decimal digits only, no sign, below 2³² − 1 (which means "no id" to the kernel). */
bool etc_parse_id(const char *text, size_t len, unsigned *ret);
