#include "files/user.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "files/etc.h"
#include "files/files.h"

#define GROUPS_MAX 65536 /* NGROUPS_MAX of the kernel */

/* 32-bit kernels keep the 16-bit calls under the plain names. */
#ifdef SYS_setfsuid32
#define CALL_setfsuid SYS_setfsuid32
#define CALL_setfsgid SYS_setfsgid32
#define CALL_setgroups SYS_setgroups32
#else
#define CALL_setfsuid SYS_setfsuid
#define CALL_setfsgid SYS_setfsgid
#define CALL_setgroups SYS_setgroups
#endif

/* ── looking up ── */

static bool find_user(const char *passwd, const char *text, size_t len, struct etc_user *ret) {
    unsigned uid;
    bool by_id = etc_parse_id(text, len, &uid);

    while (etc_next_user(&passwd, ret))
        if (by_id ? ret->uid == uid : etc_text_is(ret->name, text, len))
            return true;
    return false;
}

static int find_gid(const char *group, const char *text, size_t len, gid_t *ret) {
    struct etc_group line;
    unsigned gid;

    if (etc_parse_id(text, len, &gid)) {
        *ret = gid;
        return 0;
    }
    while (etc_next_group(&group, &line)) {
        if (etc_text_is(line.name, text, len)) {
            *ret = line.gid;
            return 0;
        }
    }
    return -ENOENT;
}

static int add_group(struct identity *identity, gid_t gid) {
    for (size_t i = 0; i < identity->n_groups; i++)
        if (identity->groups[i] == gid)
            return 0;
    if (identity->n_groups == GROUPS_MAX)
        return 0;
    /* Grows at every power of two. */
    if ((identity->n_groups & (identity->n_groups - 1)) == 0) {
        size_t cap = identity->n_groups ? identity->n_groups * 2 : 1;
        gid_t *groups = realloc(identity->groups, cap * sizeof(*groups));
        if (!groups)
            return -ENOMEM;
        identity->groups = groups;
    }
    identity->groups[identity->n_groups++] = gid;
    return 0;
}

static int add_groups_of(struct identity *identity, const char *group, struct etc_text name) {
    struct etc_group line;

    while (etc_next_group(&group, &line)) {
        if (!etc_has_member(line.members, name.at, name.len))
            continue;
        int r = add_group(identity, line.gid);
        if (r < 0)
            return r;
    }
    return 0;
}

static char *copy(struct etc_text text, const char *otherwise) {
    return text.len ? strndup(text.at, text.len) : strdup(otherwise);
}

/* All digits means an id, so an id that is out of range is malformed rather than a name nobody has.
 */
static bool malformed(const char *text, size_t len) {
    unsigned id;
    return len == 0 || (strspn(text, "0123456789") >= len && !etc_parse_id(text, len, &id));
}

int user_resolve_in(const char *passwd, const char *group, const char *spec, struct identity *ret) {
    struct identity identity = {0};
    struct etc_user user = {0};
    const char *colon = strchr(spec, ':');
    size_t len = colon ? (size_t)(colon - spec) : strlen(spec);
    const char *group_spec = colon ? colon + 1 : NULL;
    unsigned uid;

    if (malformed(spec, len))
        return -EINVAL;
    if (group_spec && (malformed(group_spec, strlen(group_spec)) || strchr(group_spec, ':')))
        return -EINVAL;

    bool known = find_user(passwd, spec, len, &user);
    if (!known) {
        if (!etc_parse_id(spec, len, &uid))
            return -ENOENT;
        user = (struct etc_user){.name = {spec, len}, .uid = uid, .gid = uid};
    }
    identity.uid = user.uid;
    identity.gid = user.gid;
    int r = group_spec ? find_gid(group, group_spec, strlen(group_spec), &identity.gid) : 0;
    if (r == 0)
        r = add_group(&identity, identity.gid);
    if (r == 0 && known)
        r = add_groups_of(&identity, group, user.name);
    if (r == 0) {
        identity.name = copy(user.name, "");
        identity.home = copy(user.home, "/");
        identity.shell = copy(user.shell, "/bin/sh");
        if (!identity.name || !identity.home || !identity.shell)
            r = -ENOMEM;
    }
    if (r < 0) {
        identity_deinit(&identity);
        return r;
    }
    *ret = identity;
    return 0;
}

int user_resolve(const char *spec_or_null, struct identity *ret) {
    char self[16];
    int r = -ENOMEM;

    if (!spec_or_null)
        snprintf(self, sizeof(self), "%u", (unsigned)geteuid());
    char *passwd = etc_load("/etc/passwd");
    char *group = etc_load("/etc/group");
    if (passwd && group)
        r = user_resolve_in(passwd, group, spec_or_null ? spec_or_null : self, ret);
    free(passwd);
    free(group);
    return r;
}

void identity_deinit(struct identity *identity) {
    free(identity->groups);
    free(identity->name);
    free(identity->home);
    free(identity->shell);
    *identity = (struct identity){0};
}

/* ── taking on ── */

/* guestd's own groups, read before any thread has taken on others: identity_restore goes back to
 * them. */
static struct {
    pthread_once_t once;
    gid_t *groups;
    int n;
} own = {.once = PTHREAD_ONCE_INIT};

static void read_own(void) {
    int n = getgroups(0, NULL);
    if (n > 0)
        own.groups = calloc((size_t)n, sizeof(gid_t));
    if (own.groups)
        n = getgroups(n, own.groups);
    own.n = own.groups && n > 0 ? n : 0;
}

/* setfsuid(2) answers with the value before, so asking twice tells what holds. */
static bool set_fsuid(uid_t uid) {
    syscall(CALL_setfsuid, uid);
    return (uid_t)syscall(CALL_setfsuid, (uid_t)-1) == uid;
}

static bool set_fsgid(gid_t gid) {
    syscall(CALL_setfsgid, gid);
    return (gid_t)syscall(CALL_setfsgid, (gid_t)-1) == gid;
}

int identity_assume(const struct identity *identity) {
    pthread_once(&own.once, read_own);
    /* Without privilege guestd can only be itself. */
    if (geteuid() != 0)
        return identity->uid == geteuid() && identity->gid == getegid() ? 0 : -EPERM;

    if (syscall(CALL_setgroups, identity->n_groups, identity->groups) < 0)
        return -EPERM;
    if (set_fsgid(identity->gid) && set_fsuid(identity->uid))
        return 0;
    identity_restore();
    return -EPERM;
}

void identity_restore(void) {
    if (geteuid() != 0)
        return;
    /* The uid first: it brings back the capabilities that setgroups may need. */
    if (!set_fsuid(geteuid()) || !set_fsgid(getegid()) ||
        syscall(CALL_setgroups, own.n, own.groups) < 0)
        abort();
}

int user_find(const char *spec, struct identity *ret) {
    *ret = (struct identity){0};
    int r = spec ? user_resolve(spec, ret) : 0;
    if (r == -ENOENT)
        return FILES_NO_USER;
    return r == -EINVAL ? FILES_BAD_USER : r;
}

int user_enter(const char *spec, struct identity *ret) {
    int r = user_find(spec, ret);
    if (r == 0 && spec && identity_assume(ret) < 0) {
        identity_deinit(ret);
        r = FILES_USER_REFUSED;
    }
    return r;
}

void user_leave(const char *spec, struct identity *identity) {
    if (spec)
        identity_restore();
    identity_deinit(identity);
}
