/* What exec's profile `default` refuses. Runs on the build machine only; see rules.h. */
#include "rules.h"

#include <errno.h>
#include <linux/sched.h>

/* Refused whatever the arguments. */
// clang-format off
static const int denied[] = {
    /* the tree of mounts, and ways around it */
    CALL(fsconfig), CALL(fsmount), CALL(fsopen), CALL(fspick), CALL(mount), CALL(mount_setattr),
    CALL(move_mount), CALL(open_by_handle_at), CALL(open_tree), CALL(pivot_root), CALL(quotactl),
    CALL(quotactl_fd), CALL(swapoff), CALL(swapon), CALL(sysfs), CALL(umount), CALL(umount2),

    /* namespaces of others; making one is below */
    CALL(setns),

    /* the kernel itself */
    CALL(_sysctl), CALL(bpf), CALL(create_module), CALL(delete_module), CALL(finit_module),
    CALL(get_kernel_syms), CALL(init_module), CALL(kexec_file_load), CALL(kexec_load),
    CALL(lookup_dcookie), CALL(nfsservctl), CALL(query_module), CALL(syslog), CALL(uselib),

    /* the machine */
    CALL(acct), CALL(ioperm), CALL(iopl), CALL(reboot), CALL(setdomainname), CALL(sethostname),
    CALL(vhangup), CALL(vm86), CALL(vm86old),

    /* its clock: guestd's alone, or a resumed capsule's time is anybody's */
    CALL(adjtimex), CALL(clock_adjtime), CALL(clock_adjtime64), CALL(clock_settime),
    CALL(clock_settime64), CALL(settimeofday), CALL(stime),

    /* where kernels had most of their holes */
    CALL(add_key), CALL(io_uring_enter), CALL(io_uring_register), CALL(io_uring_setup), CALL(kcmp),
    CALL(keyctl), CALL(perf_event_open), CALL(request_key), CALL(userfaultfd),

    /* other processes' pages */
    CALL(mbind), CALL(migrate_pages), CALL(move_pages), CALL(set_mempolicy),
};
// clang-format on

static const uint32_t namespaces[] = {
    CLONE_NEWCGROUP, CLONE_NEWIPC,  CLONE_NEWNET, CLONE_NEWNS,
    CLONE_NEWPID,    CLONE_NEWUSER, CLONE_NEWUTS,
};

static int deny_if_flag(scmp_filter_ctx ctx, int call, unsigned index, uint32_t flag) {
    return seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), call, 1,
                            SCMP_CMP64(index, SCMP_CMP_MASKED_EQ, flag, flag));
}

int rules_default(scmp_filter_ctx ctx) {
    /* A call by a convention that is not listed here (x32) could name any call by another number.
     */
    int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

    /* 32-bit programs run, under the same rules. */
#if defined(__x86_64__)
    if (r == 0)
        r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
#elif defined(__aarch64__)
    if (r == 0)
        r = seccomp_arch_add(ctx, SCMP_ARCH_ARM);
#endif
    for (size_t i = 0; r == 0 && i < COUNT(denied); i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), denied[i], 0);
    for (size_t i = 0; r == 0 && i < COUNT(namespaces); i++) {
        r = deny_if_flag(ctx, CALL(clone), 0, namespaces[i]);
        if (r == 0)
            r = deny_if_flag(ctx, CALL(unshare), 0, namespaces[i]);
    }
    /* clone's low byte is the exit signal, so this flag means a namespace for unshare only. */
    if (r == 0)
        r = deny_if_flag(ctx, CALL(unshare), 0, CLONE_NEWTIME);
    if (r == 0)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), CALL(clone3), 0);
    return r;
}
