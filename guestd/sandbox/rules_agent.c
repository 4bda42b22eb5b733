/* What the agent may call. Runs on the build machine only; see rules.h. */
#include "rules.h"

#include <errno.h>
#include <linux/vm_sockets.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/*
 * Names that this kind of machine never had are skipped by libseccomp. musl uses the old forms
 * (open, stat, poll) where the machine has them, glibc the new ones.
 */
// clang-format off
static const int allowed[] = {
    /* memory; mmap and mprotect are below */
    CALL(brk), CALL(madvise), CALL(membarrier), CALL(memfd_create), CALL(mremap), CALL(munmap),

    /* threads, time, signals to itself */
    CALL(clock_getres), CALL(clock_gettime), CALL(clock_nanosleep), CALL(exit), CALL(exit_group),
    CALL(futex), CALL(getcpu), CALL(gettimeofday), CALL(nanosleep), CALL(pause),
    CALL(restart_syscall), CALL(rseq), CALL(rt_sigaction), CALL(rt_sigpending),
    CALL(rt_sigprocmask), CALL(rt_sigreturn), CALL(rt_sigsuspend), CALL(rt_sigtimedwait),
    CALL(sched_getaffinity), CALL(sched_getparam), CALL(sched_getscheduler), CALL(sched_yield),
    CALL(set_robust_list), CALL(set_tid_address), CALL(sigaltstack), CALL(time), CALL(times),

    /* who and where it is */
    CALL(getegid), CALL(geteuid), CALL(getgid), CALL(getgroups), CALL(getpgrp), CALL(getpid),
    CALL(getppid), CALL(getrandom), CALL(getresgid), CALL(getresuid), CALL(getrlimit),
    CALL(getrusage), CALL(getsid), CALL(gettid), CALL(getuid), CALL(sysinfo), CALL(uname),

    /* waiting */
    CALL(epoll_create), CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_pwait), CALL(epoll_pwait2),
    CALL(epoll_wait), CALL(eventfd2), CALL(inotify_add_watch), CALL(inotify_init1),
    CALL(inotify_rm_watch), CALL(pipe), CALL(pipe2), CALL(poll), CALL(ppoll), CALL(pselect6),
    CALL(select), CALL(timerfd_create), CALL(timerfd_gettime), CALL(timerfd_settime),

    /* sockets that it was given, and connections; no bind. libuv calls listen on a listening socket again */
    CALL(accept), CALL(accept4), CALL(connect), CALL(getpeername), CALL(getsockname),
    CALL(getsockopt), CALL(listen), CALL(recvfrom), CALL(recvmsg), CALL(sendmsg), CALL(sendto), CALL(setsockopt),
    CALL(shutdown), CALL(socketpair),

    /* bytes */
    CALL(close), CALL(close_range), CALL(copy_file_range), CALL(dup), CALL(dup2), CALL(dup3),
    CALL(fadvise64), CALL(fallocate), CALL(fcntl), CALL(fdatasync), CALL(flock), CALL(fsync),
    CALL(ftruncate), CALL(lseek), CALL(pread64), CALL(preadv), CALL(preadv2), CALL(pwrite64),
    CALL(pwritev), CALL(pwritev2), CALL(read), CALL(readahead), CALL(readv), CALL(sendfile),
    CALL(splice), CALL(sync), CALL(sync_file_range), CALL(syncfs), CALL(truncate), CALL(write),
    CALL(writev),

    /* names */
    CALL(access), CALL(chmod), CALL(chown), CALL(creat), CALL(faccessat), CALL(faccessat2),
    CALL(fchdir), CALL(fchmod), CALL(fchmodat), CALL(fchown), CALL(fchownat), CALL(fstat),
    CALL(fstatfs), CALL(getcwd), CALL(getdents), CALL(getdents64), CALL(lchown), CALL(link),
    CALL(linkat), CALL(lstat), CALL(mkdir), CALL(mkdirat), CALL(newfstatat), CALL(open),
    CALL(openat), CALL(openat2), CALL(readlink), CALL(readlinkat), CALL(rename), CALL(renameat),
    CALL(renameat2), CALL(rmdir), CALL(stat), CALL(statfs), CALL(statx), CALL(symlink),
    CALL(symlinkat), CALL(umask), CALL(unlink), CALL(unlinkat), CALL(utimensat),

    /* file work on behalf of a user: per thread, by raw calls */
    CALL(setfsgid), CALL(setfsuid), CALL(setgroups),
};
// clang-format on

/* No honest path leads here: whoever calls one of these is no longer the agent. */
// clang-format off
static const int deadly[] = {
    CALL(bpf), CALL(chroot), CALL(delete_module), CALL(execve), CALL(execveat), CALL(finit_module),
    CALL(fsconfig), CALL(fsmount), CALL(fsopen), CALL(fspick), CALL(init_module), CALL(ioperm),
    CALL(iopl), CALL(kexec_load), CALL(kexec_file_load), CALL(mount), CALL(mount_setattr),
    CALL(move_mount), CALL(open_tree), CALL(pivot_root), CALL(process_vm_readv),
    CALL(process_vm_writev), CALL(ptrace), CALL(reboot), CALL(setns), CALL(swapoff), CALL(swapon),
    CALL(umount2), CALL(unshare),
};
// clang-format on

static const uint32_t ioctls[] = {
    FIOCLEX, FIONBIO, FIONREAD, TCGETS, TIOCGWINSZ, IOCTL_VM_SOCKETS_GET_LOCAL_CID,
};
static const int families[] = {AF_UNIX, AF_INET, AF_INET6, AF_VSOCK};
static const int prctls[] = {PR_SET_NAME, PR_GET_NAME, PR_SET_PDEATHSIG};

/* The kernel looks at the low half of such an argument only, so the filter does too. */
static struct scmp_arg_cmp low_half(unsigned index, uint32_t value) {
    return SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, UINT32_MAX, value);
}

static int allow_if(scmp_filter_ctx ctx, int call, struct scmp_arg_cmp condition) {
    return seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, call, 1, &condition);
}

static int allow_conditional(scmp_filter_ctx ctx) {
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT(ioctls); i++)
        r = allow_if(ctx, CALL(ioctl), low_half(1, ioctls[i]));
    for (size_t i = 0; r == 0 && i < COUNT(families); i++)
        r = allow_if(ctx, CALL(socket), low_half(0, (uint32_t)families[i]));
    for (size_t i = 0; r == 0 && i < COUNT(prctls); i++)
        r = allow_if(ctx, CALL(prctl), low_half(0, (uint32_t)prctls[i]));
    if (r != 0)
        return r;

    const struct {
        int call;
        struct scmp_arg_cmp condition;
    } rules[] = {
        {CALL(clone), SCMP_CMP64(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)},
        {CALL(mmap), SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {CALL(mprotect), SCMP_CMP64(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)},
        {CALL(prlimit64), SCMP_CMP64(2, SCMP_CMP_EQ, 0, 0)}, /* reads, never sets */
        /* abort(), by both libcs. In a pool thread musl's fails here, and its next resort is a trap
           instruction. */
        {CALL(kill), low_half(0, OWN_PID)},
        {CALL(tgkill), low_half(0, OWN_PID)},
        {CALL(tkill), low_half(0, OWN_PID)},
    };
    for (size_t i = 0; r == 0 && i < COUNT(rules); i++)
        r = allow_if(ctx, rules[i].call, rules[i].condition);
    return r;
}

int rules_agent(scmp_filter_ctx ctx) {
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

    for (size_t i = 0; r == 0 && i < COUNT(allowed); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; r == 0 && i < COUNT(deadly); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    /* glibc tries it with all signals blocked, where a trap would kill. */
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    return r == 0 ? allow_conditional(ctx) : r;
}
