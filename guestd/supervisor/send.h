/* Signals by pidfd where the kernel has them (5.3), by pid else. */
#pragma once

#include <sys/types.h>

/* From here on as on an older kernel; before there are threads. */
void send_without_pidfds(void);
/* A pidfd, or -1: no such process, or a kernel without (errno says which). */
int send_open(pid_t pid);
/* By pidfd; by pid when it is -1 and pid > 0. 0 or -errno. */
int send_signal(int pidfd, pid_t pid, int signal);
