/*
 * Names of user and group ids, remembered for one operation. The files are read when the first name
 * is asked for.
 */
#pragma once

#include <sys/types.h>

#define NAMES_SLOTS 64

struct names {
    char *text[2]; /* passwd, group: NULL until needed */
    struct names_slot {
        unsigned id;
        char *name; /* NULL: the slot is free */
    } slot[2][NAMES_SLOTS];
};

/* A zeroed struct is an empty one. Leaves it zeroed. */
void names_deinit(struct names *names);

/* The name, or the number as text if none is known. Valid until the next call of the same kind.
 * Never NULL: without memory it is "?". */
const char *names_user(struct names *names, uid_t uid);
const char *names_group(struct names *names, gid_t gid);
