/*
 * without COMMAND...: runs it on an older kernel, as far as system calls go: what guestd has a
 * fallback for is refused here as kernels refuse what they don't know. Each line says since when
 * they do. (What shows in files, cgroup.kill, and what no filter can see, CLONE_INTO_CGROUP, have
 * switches of their own: guestd --help.)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif
#define SEAL_FUTURE_WRITE 0x10
#define SEAL_EXEC 0x20
#define MEMFD_EXEC 0x10
#define UNNAMED 020000000 /* O_TMPFILE without O_DIRECTORY */

static int refuse(scmp_filter_ctx ctx) {
    static const int unknown[] = {
        SCMP_SYS(fsopen),            /* 5.2 */
        SCMP_SYS(clone3),            /* 5.3 */
        SCMP_SYS(pidfd_open),        /* 5.3 */
        SCMP_SYS(pidfd_send_signal), /* 5.1 */
        SCMP_SYS(close_range),       /* 5.9 */
    };
    int r = 0;

    for (unsigned i = 0; r == 0 && i < sizeof unknown / sizeof *unknown; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), unknown[i], 0);
    if (r == 0) /* 3.11, and not every file system */
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EOPNOTSUPP), SCMP_SYS(openat), 1,
                             SCMP_A2_64(SCMP_CMP_MASKED_EQ, UNNAMED, UNNAMED));
    if (r == 0) /* 4.13 */
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 1,
                             SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffff, TIOCGPTPEER));
    if (r == 0) /* 5.1 */
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(fcntl), 2,
                             SCMP_A1_64(SCMP_CMP_EQ, F_ADD_SEALS),
                             SCMP_A2_64(SCMP_CMP_MASKED_EQ, SEAL_FUTURE_WRITE, SEAL_FUTURE_WRITE));
    if (r == 0) /* 6.3 */
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(fcntl), 2,
                             SCMP_A1_64(SCMP_CMP_EQ, F_ADD_SEALS),
                             SCMP_A2_64(SCMP_CMP_MASKED_EQ, SEAL_EXEC, SEAL_EXEC));
    if (r == 0) /* 6.3 */
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EINVAL), SCMP_SYS(memfd_create), 1,
                             SCMP_A1_64(SCMP_CMP_MASKED_EQ, MEMFD_EXEC, MEMFD_EXEC));
    return r;
}

int main(int argc, char **argv) {
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int r = ctx != NULL ? 0 : -ENOMEM;

    if (argc < 2) {
        fputs("usage: without COMMAND...\n", stderr);
        return 2;
    }
    if (r == 0 && geteuid() == 0) /* programs may still gain rights */
        r = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 0);
    if (r == 0)
        r = refuse(ctx);
    if (r == 0)
        r = seccomp_load(ctx);
    if (r < 0) {
        fprintf(stderr, "without: no filter: error %d\n", -r);
        return 1;
    }
    seccomp_release(ctx);
    execvp(argv[1], argv + 1);
    perror(argv[1]);
    return 127;
}
