/*
 * Who an operation is done as: the numbers behind the contract's `user` (`name`, `uid`,
 * `name:group`, `uid:gid`), and taking them on for one thread.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct identity {
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* gid first, then the groups of /etc/group that name the user */
    size_t n_groups;
    char *name;  /* the number as text for a uid that /etc/passwd doesn't know */
    char *home;  /* "/" when not known */
    char *shell; /* "/bin/sh" when not known */
};

/*
 * Looks `spec` up in /etc/passwd and /etc/group. A uid alone gets its primary group if it is known,
 * else gid = uid. NULL: the user guestd runs as, which is root but in tests.
 *
 * Returns 0, -ENOENT (no such user or group), -EINVAL (malformed), -ENOMEM; *ret is untouched on
 * failure. May block on the disk.
 */
int user_resolve(const char *spec_or_null, struct identity *ret);

/* The same on texts that are already read. */
int user_resolve_in(const char *passwd, const char *group, const char *spec, struct identity *ret);

/* Takes a zeroed or resolved identity; leaves it zeroed. */
void identity_deinit(struct identity *identity);

/*
 * From here to identity_restore the calling thread touches files as that identity: setgroups,
 * setfsgid and setfsuid as raw system calls, which the kernel keeps per thread (the libc's
 * setgroups would change every thread). Whether it took is asked of the kernel, since setfsuid(2)
 * has no error.
 *
 * Returns 0 or -EPERM, then nothing has changed. A thread that can't be restored would go on with a
 * wrong identity for somebody else, so identity_restore aborts the process instead.
 */
int identity_assume(const struct identity *identity);
void identity_restore(void);

/* Resolves and assumes in one step; NULL changes nothing. Returns 0, FILES_NO_USER, FILES_BAD_USER,
 * FILES_USER_REFUSED or -ENOMEM. user_leave undoes it, after a success only. */
int user_enter(const char *spec_or_null, struct identity *ret);
void user_leave(const char *spec_or_null, struct identity *identity);
/* The resolving alone, with the same answers; NULL leaves *ret zeroed. */
int user_find(const char *spec_or_null, struct identity *ret);
