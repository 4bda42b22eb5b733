#include "supervisor/child.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "link.h"

static void fail(struct child *child, int err, enum link_stage stage) {
    struct child_failure failure = {.err = err, .stage = stage};
    child->failure = failure;
    if (child->report >= 0) {
        ssize_t ignored = write(child->report, &failure, sizeof failure);
        (void)ignored;
    }
    _exit(127);
}

static int write_file(int directory, const char *name, const char *text, size_t len) {
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int err = write(fd, text, len) < 0 ? -errno : 0;
    close(fd);
    return err;
}

static void take_stdio(struct child *child) {
    for (int i = 0; i < 3; i++) {
        /* dup2 onto itself would leave close-on-exec set; only PROGRAM's inherited ones are in
         * place already. */
        if (child->stdio[i] != i && dup2(child->stdio[i], i) < 0)
            fail(child, errno, LINK_STAGE_NONE);
    }
    /* Everything of the supervisor's is close-on-exec from birth; this is the second lock. */
#ifdef SYS_close_range
    syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
}

/* Before it becomes its user, who may have no right to it. */
static void restrain(struct child *child) {
    unsigned limit = 0;
    int err = bounds_apply(&child->birth->bounds, &limit);
    if (err < 0)
        fail(child, -err, LINK_STAGE_LIMIT + limit);
}

/* Raw system calls: the C library's would signal every thread of the process whose memory this is.
 */
static void become_user(struct child *child) {
    const struct birth *birth = child->birth;
    if ((birth->flags & LINK_SPAWN_SET_USER) == 0)
        return;
    if (geteuid() != 0 && birth->uid == geteuid() && birth->gid == getegid())
        return;
#ifdef SYS_setgroups32
    long err = syscall(SYS_setgroups32, (size_t)child->spec->n_groups, child->spec->groups);
    err = err == 0 ? syscall(SYS_setgid32, birth->gid) : err;
    err = err == 0 ? syscall(SYS_setuid32, birth->uid) : err;
#else
    long err = syscall(SYS_setgroups, (size_t)child->spec->n_groups, child->spec->groups);
    err = err == 0 ? syscall(SYS_setgid, birth->gid) : err;
    err = err == 0 ? syscall(SYS_setuid, birth->uid) : err;
#endif
    if (err != 0)
        fail(child, errno, LINK_STAGE_USER);
}

/* A filter needs CAP_SYS_ADMIN or no_new_privs: who has neither any more gets the latter.
 * seccomp(2) */
static void confine(struct child *child) {
    if ((child->birth->flags & LINK_SPAWN_NO_NEW_PRIVS) != 0 &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail(child, errno, LINK_STAGE_NONE);
    const struct sock_fprog *filter = &child->spec->filter;
    if (filter->len == 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) == 0)
        return;
    if (errno != EACCES || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, filter) != 0)
        fail(child, errno, LINK_STAGE_NONE);
}

/* How much a failure says: that a file was forbidden more than that there was none, and that more
 * than what is odd about a folder of PATH. */
static int weight(int err) {
    return err == EACCES ? 2 : err == ENOENT ? 1 : 0;
}

/* In the manner of execvp(3), which goes on where a path leads nowhere. */
static void exec_candidates(struct child *child) {
    int err = 0;
    for (char **path = child->spec->candidates; *path != NULL; path++) {
        execve(*path, child->spec->argv, child->spec->envp);
        switch (errno) {
        case EACCES:
        case ENOENT:
        case ENOTDIR:
        case ESTALE:
        case ENODEV:
        case ETIMEDOUT:
            if (err == 0 || weight(errno) > weight(err))
                err = errno;
            break;
        case EAGAIN: /* its user has as many processes as it may */
            fail(child, EAGAIN,
                 bounds_has(&child->birth->bounds, LINK_LIMIT_NPROC)
                     ? LINK_STAGE_LIMIT + LINK_LIMIT_NPROC
                     : LINK_STAGE_CMD);
            break;
        default:
            fail(child, errno, errno == E2BIG ? LINK_STAGE_ARGS : LINK_STAGE_CMD);
        }
    }
    fail(child, err, LINK_STAGE_CMD);
}

void child_run(void *arg) {
    struct child *child = arg;
    const struct birth *birth = child->birth;
    const struct nursery *nursery = birth->nursery;

    if (child->join >= 0) {
        int err = write_file(child->join, "cgroup.procs", "0", 1);
        if (err < 0)
            fail(child, -err, LINK_STAGE_NONE);
    }
    setsid();
    take_stdio(child);
    if ((birth->flags & LINK_SPAWN_MAIN) != 0 && isatty(STDIN_FILENO))
        ioctl(STDIN_FILENO, TIOCSCTTY, 0);
    if ((birth->flags & LINK_SPAWN_PTY) != 0 && ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
        fail(child, errno, LINK_STAGE_PTY);
    if (nursery->set_oom_score)
        write_file(nursery->proc, "self/oom_score_adj", "0", 1);
    syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &nursery->nofile, NULL);
    restrain(child);
    become_user(child);
    if (child->spec->cwd[0] != 0 && chdir(child->spec->cwd) < 0)
        fail(child, errno, LINK_STAGE_CWD);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    confine(child);
    exec_candidates(child);
}
