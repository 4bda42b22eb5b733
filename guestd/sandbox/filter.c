#include "sandbox/filter.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "program_agent.h"

#define COUNT (sizeof(program_agent) / sizeof(program_agent[0]))

/* Development only: says which call was refused, then answers it as the filter would. */
static void on_sigsys(int sig, siginfo_t *info, void *context) {
    ucontext_t *uc = context;

    dprintf(STDERR_FILENO, "guestd: seccomp: system call %d is not listed\n", info->si_syscall);
#if defined(__x86_64__)
    uc->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
#elif defined(__aarch64__)
    uc->uc_mcontext.regs[0] = (uint64_t)-ENOSYS;
#else
    (void)uc;
    _exit(1);
#endif
}

static bool wants_log(void) {
    const char *log = getenv("GUESTD_SECCOMP_LOG");
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};

    return log && log[0] == '1' && sigaction(SIGSYS, &action, NULL) == 0;
}

int filter_agent_load(void) {
    struct sock_filter ops[COUNT];
    struct sock_fprog program = {.len = COUNT, .filter = ops};
    uint32_t otherwise = wants_log() ? SECCOMP_RET_TRAP : SECCOMP_RET_ERRNO | ENOSYS;

    memcpy(ops, program_agent, sizeof(ops));
    for (size_t i = 0; i < COUNT; i++) {
        if (BPF_CLASS(ops[i].code) == BPF_JMP && ops[i].k == PROGRAM_OWN_PID)
            ops[i].k = (uint32_t)getpid();
        if (BPF_CLASS(ops[i].code) == BPF_RET && ops[i].k == PROGRAM_OTHERWISE)
            ops[i].k = otherwise;
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    /* prctl, not seccomp(2): older kernels have it too, and TSYNC isn't wanted. */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0 ? -errno : 0;
}
