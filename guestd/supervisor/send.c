#include "supervisor/send.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool without_pidfds;

void send_without_pidfds(void) {
    without_pidfds = true;
}

int send_open(pid_t pid) {
#ifdef SYS_pidfd_open
    if (!without_pidfds)
        return (int)syscall(SYS_pidfd_open, pid, 0);
#endif
    errno = ENOSYS;
    return -1;
}

int send_signal(int pidfd, pid_t pid, int signal) {
#ifdef SYS_pidfd_send_signal
    if (pidfd >= 0)
        return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
#endif
    return kill(pid, signal) < 0 ? -errno : 0;
}
