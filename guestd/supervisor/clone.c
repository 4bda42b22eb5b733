#include "supervisor/clone.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/send.h"

#ifndef CLONE_VM
#define CLONE_VM 0x00000100
#define CLONE_VFORK 0x00004000
#define CLONE_PARENT_SETTID 0x00100000
#endif
#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif
#define INTO_CGROUP UINT64_C(0x200000000)

/* struct clone_args of <linux/sched.h>, which can't be included beside <sched.h> everywhere.
 * clone3(2). */
struct clone3 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid,
        set_tid_size, cgroup;
};

/*
 * The system call itself. The child comes back on an empty stack, so nothing of the caller's frame
 * may be touched: it calls `child` from registers and never returns.
 */
#if defined(__x86_64__)
static long clone3_call(struct clone3 *args, void (*child)(void *), void *arg) {
    long result;
    register void (*fn)(void *) __asm__("r12") = child;
    register void *fn_arg __asm__("r13") = arg;
    __asm__ volatile("syscall\n\t"
                     "test %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xor %%ebp, %%ebp\n\t"
                     "mov %%r13, %%rdi\n\t"
                     "call *%%r12\n\t"
                     "hlt\n"
                     "1:"
                     : "=a"(result)
                     : "a"(SYS_clone3), "D"(args), "S"(sizeof *args), "r"(fn), "r"(fn_arg)
                     : "rcx", "r11", "memory", "cc");
    return result;
}
#elif defined(__aarch64__)
static long clone3_call(struct clone3 *args, void (*child)(void *), void *arg) {
    register long x0 __asm__("x0") = (long)args;
    register long x1 __asm__("x1") = sizeof *args;
    register long x8 __asm__("x8") = SYS_clone3;
    register void (*fn)(void *) __asm__("x19") = child;
    register void *fn_arg __asm__("x20") = arg;
    __asm__ volatile("svc #0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, x20\n\t"
                     "blr x19\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x1), "r"(x8), "r"(fn), "r"(fn_arg)
                     : "memory", "cc");
    return x0;
}
#else
static long clone3_call(struct clone3 *args, void (*child)(void *), void *arg) {
    (void)args, (void)child, (void)arg;
    return -ENOSYS;
}
#endif

pid_t clone_shared(const struct clone *clone) {
    /*
     * Signal handlers need no clearing: the supervisor has none, and the child keeps everything
     * blocked until it execs. The stack grows downwards from a multiple of 16.
     */
    struct clone3 args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_PARENT_SETTID,
        .pidfd = (uintptr_t)clone->ret_pidfd,
        .parent_tid = (uintptr_t)clone->ret_pid,
        .exit_signal = SIGCHLD,
        .stack = (uintptr_t)clone->stack,
        .stack_size = clone->stack_len & ~(size_t)15,
    };
    if (clone->cgroup >= 0) {
        args.flags |= INTO_CGROUP;
        args.cgroup = (uint64_t)clone->cgroup;
    }
    pid_t pid = (pid_t)clone3_call(&args, clone->child, clone->arg);
    if (pid < 0)
        *clone->ret_pidfd =
            -1; /* a clone that fails late has written the number of an fd that isn't */
    return pid;
}

pid_t clone_forked(const struct clone *clone) {
    int go[2];
    if (pipe2(go, O_CLOEXEC) < 0)
        return -errno;
    pid_t pid = fork();
    if (pid == 0) {
        char byte;
        close(go[1]);
        while (read(go[0], &byte, 1) < 0 && errno == EINTR)
            ;
        clone->child(clone->arg);
        _exit(127);
    }
    int err = pid < 0 ? -errno : 0;
    if (pid > 0) {
        *clone->ret_pid = pid;
        *clone->ret_pidfd = send_open(pid);
        /* A byte, not the end of the pipe: other forked children hold copies of our end. */
        ssize_t ignored = write(go[1], "", 1);
        (void)ignored;
    }
    close(go[0]);
    close(go[1]);
    return err < 0 ? err : pid;
}
