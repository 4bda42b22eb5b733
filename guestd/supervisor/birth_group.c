/* The group that a program is born in: made, bounded and opened on the spawn thread. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/birth.h"
#include "supervisor/group_bounds.h"

/* What a later start may have again: no reason to run outside of a group. */
bool birth_lacks_resources(int err) {
    return err == EMFILE || err == ENFILE || err == ENOMEM || err == EAGAIN;
}

int birth_without_group(struct birth *birth, int err) {
    unsigned limit = group_bounds_first(&birth->bounds);
    birth->group_unusable = birth->group[0] != 0;
    if (limit == LINK_LIMIT_COUNT)
        return 0;
    birth->stage = LINK_STAGE_LIMIT + limit;
    return err;
}

static int bound(struct birth *birth, int group) {
    unsigned limit = 0;
    int err = group_bounds_write(group, &birth->bounds, birth->nursery->controllers, &limit);
    if (err < 0)
        birth->stage = LINK_STAGE_LIMIT + limit;
    return err == -ENOENT ? -EOPNOTSUPP : err; /* a kernel without that file */
}

int birth_open_group(struct birth *birth, int *ret_fd) {
    int root = birth->nursery->groups, fd = -1;
    *ret_fd = -1;
    if (root < 0 || birth->group[0] == 0)
        return birth_without_group(birth, -EOPNOTSUPP);
    if (!birth->group_is_new || mkdirat(root, birth->group, 0755) == 0 || errno == EEXIST)
        fd = openat(root, birth->group, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return birth_lacks_resources(errno) ? -errno : birth_without_group(birth, -errno);
    int err = bound(birth, fd);
    if (err < 0)
        close(fd);
    else
        *ret_fd = fd;
    return err;
}
