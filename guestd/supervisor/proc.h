/* The /proc that the supervisor works with: held open, and of its own pid namespace. */
#pragma once

#include <sys/types.h>

/*
 * A directory fd, or -errno. Where /proc is missing or shows another namespace's numbers (`unshare
 * --pid` without a mount of its own), a private procfs that is mounted nowhere serves, if we may
 * make one (Linux 5.2, CAP_SYS_ADMIN).
 */
int proc_open(void);
/* The state of a process, as a letter (proc_pid_stat(5)); 0: it can't be read. `proc`: proc_open's.
 */
char proc_state(int proc, pid_t pid);
