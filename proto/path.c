/* Absolute paths, before anything is opened. */
#include <errno.h>
#include <string.h>

#include "proto/fields.h"

#define PATH_BYTES 4096

int path_clean(char *path) {
    char *to = path;

    if (path[0] != '/')
        return -EINVAL;
    if (strnlen(path, PATH_BYTES + 1) > PATH_BYTES)
        return -ENAMETOOLONG;
    for (const char *from = path; *from; from++)
        if (*from != '/' || from[1] != '/')
            *to++ = *from;
    if (to > path + 1 && to[-1] == '/')
        to--;
    *to = '\0';
    return 0;
}
