/*
 * What the agent may do as root: file work on behalf of any user, nothing else.
 *
 * Kept are CAP_CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID (files of anyone) and SETUID,
 * SETGID (setfsuid, setfsgid, setgroups). All others leave the effective, permitted, inheritable,
 * bounding and ambient sets, so that they can't come back.
 */
#pragma once

/*
 * Drops them from the calling thread: call it before the first other one. Sets no_new_privs. Run by
 * a user without capabilities it has nothing to drop and succeeds.
 *
 * The process is made undumpable too: a guestd that isn't root shares its uid with what it runs,
 * and none of that may trace it; nor may tokens and payloads end in a core file. The kernel does
 * the same at the first setfsuid anyway, so there is no second behaviour to test. The agent's own
 * /proc/self stays open to it (the kernel asks nobody who looks at himself), and a root with
 * CAP_SYS_PTRACE may still look.
 *
 * Returns 0 or -errno.
 */
int privilege_drop(void);
