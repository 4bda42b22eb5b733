#include "supervisor/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/proc.h"
#include "supervisor/program.h"
#include "supervisor/reap.h"
#include "supervisor/reexec.h"
#include "supervisor/resume.h"
#include "supervisor/send.h"
#include "supervisor/settle.h"
#include "supervisor/spawn.h"
#include "supervisor/state.h"
#include "supervisor/tree.h"

/* fds that aren't a job's: the loop's own, and what 16 starts hold on their way. */
#define FDS_RESERVED 256
/* Exited jobs that are kept, an fd each, at most; where fds are few they get a quarter of them. */
#define ANSWERED_MOST 2048

void supervisor_early(void) {
    /* Ignored signals would be inherited by every program; handlers there are none. */
    for (int signal = 1; signal < 65; signal++) {
        if (signal != SIGKILL && signal != SIGSTOP)
            (void)sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    }
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    for (int fd = 0; fd < 3; fd++) {
        /* The lowest free number is fd. */
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
            (void)!memfd_create("guestd-null", 0);
    }
    umask(022);
}

static void on_signal(struct source *source, uint32_t events) {
    struct supervisor *supervisor = container_of(source, struct supervisor, signals);
    struct signalfd_siginfo signal;
    bool children = false;
    while (read(source->fd, &signal, sizeof signal) == (ssize_t)sizeof signal) {
        if (signal.ssi_signo == SIGCHLD)
            children = true;
        else
            power_begin(supervisor, supervisor->is_init ? LINK_POWER_OFF : LINK_POWER_EXIT,
                        supervisor->options->grace_ms);
    }
    if (children)
        reap_all(supervisor);
}

static int watch_signals(struct supervisor *supervisor) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    supervisor->signals =
        (struct source){.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK), .ready = on_signal};
    if (supervisor->signals.fd < 0)
        return -errno;
    return loop_add(&supervisor->loop, &supervisor->signals, EPOLLIN);
}

/*
 * As many fds as allowed, and for the machine's init, whom the kernel gives 4096, as many as the
 * jobs need. Programs get the original limit.
 */
static void raise_nofile(struct supervisor *supervisor) {
    struct rlimit *original = &supervisor->nursery.nofile;
    getrlimit(RLIMIT_NOFILE, original);
    rlim_t needed = FDS_RESERVED + ANSWERED_MOST + supervisor->options->max_jobs * (FDS_A_JOB + 1);
    rlim_t most = original->rlim_max;
    if (supervisor->is_init && most < needed)
        most = needed;
    (void)setrlimit(RLIMIT_NOFILE, &(struct rlimit){.rlim_cur = most, .rlim_max = most});
}

/* A low limit lowers the number of jobs. */
static void share_fds_out(struct supervisor *supervisor) {
    struct rlimit raised;
    getrlimit(RLIMIT_NOFILE, &raised);
    rlim_t answered = raised.rlim_cur / 4 < ANSWERED_MOST ? raised.rlim_cur / 4 : ANSWERED_MOST;
    supervisor->tasks.stores_most = (unsigned)answered;
    rlim_t taken = FDS_RESERVED + answered;
    supervisor->job_fds = raised.rlim_cur >= taken ? raised.rlim_cur - taken : 0;
    rlim_t jobs = supervisor->job_fds >= FDS_A_JOB ? supervisor->job_fds / FDS_A_JOB : 1;
    supervisor->max_jobs =
        jobs < supervisor->options->max_jobs ? jobs : supervisor->options->max_jobs;
    /* Where there are too few for all that, the one job may still leave some daemons behind. */
    if (supervisor->job_fds < raised.rlim_cur / 4)
        supervisor->job_fds = raised.rlim_cur / 4;
}

/* −999 for us where that is allowed; programs get 0 in any case that it isn't 0 already. */
static void spare_from_oom(struct supervisor *supervisor) {
    int fd = openat(supervisor->nursery.proc, "self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char score[8] = "";
    if (fd >= 0) {
        /* Allowed or not: what counts is what stands there then. */
        (void)!write(fd, "-999", 4);
        if (pread(fd, score, sizeof score - 1, 0) < 0)
            score[0] = 0;
        close(fd);
    }
    supervisor->nursery.set_oom_score = score[0] != 0 && score[0] != '0';
}

/* What a program without stdin reads. In a bare root there may be no /dev/null: an empty file does
 * as well. */
static int open_null(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0 ? fd : memfd_create("guestd-null", MFD_CLOEXEC);
}

static void watch_children(struct supervisor *supervisor) {
    char path[64];
    snprintf(path, sizeof path, "self/task/%d/children", (int)supervisor->pid);
    supervisor->children = openat(supervisor->nursery.proc, path, O_RDONLY | O_CLOEXEC);
}

static void look_around(struct supervisor *supervisor) {
    if (supervisor->pid != 1 && prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
        note("orphans of programs will escape: %s", strerror(errno));
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    supervisor->started_boot_ns = (int64_t)now.tv_sec * SECOND_NS + now.tv_nsec;
    clock_gettime(CLOCK_REALTIME, &now);
    supervisor->last_active_at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    if (getrandom(&supervisor->job_nonce, sizeof supervisor->job_nonce, GRND_NONBLOCK) < 0)
        supervisor->job_nonce =
            (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec ^ (uint64_t)supervisor->pid;

    struct nursery *nursery = &supervisor->nursery;
    nursery->proc = proc_open();
    nursery->null = open_null();
    spare_from_oom(supervisor);
    raise_nofile(supervisor);
    settle_begin(supervisor);
}

/* The rooms, empty. */
static int build(struct supervisor *supervisor) {
    supervisor->pid = getpid();
    supervisor->is_init = supervisor->options->is_init;
    supervisor->nursery.no_clone3 = getenv("GUESTD_NO_CLONE3") != NULL;
    supervisor->nursery.no_clone_into = getenv("GUESTD_NO_CLONE_INTO_CGROUP") != NULL;
    if (supervisor->nursery.no_clone3)
        send_without_pidfds(); /* what has no clone3 (Linux before 5.3, valgrind) has none */
    int err = loop_init(&supervisor->loop);
    if (err == 0)
        err = watch_signals(supervisor);
    if (err < 0)
        return err;
    tasks_init(&supervisor->tasks);
    budget_init(supervisor, supervisor->options->output_total);
    admission_init(&supervisor->admission);
    supervisor->inputs = (struct input_budget){.most = supervisor->options->stdin_total,
                                               .most_each = supervisor->options->stdin_buffer};
    reap_init(supervisor);
    power_init(supervisor);
    notify_init(supervisor);
    keeper_init(supervisor);
    upgrade_init(supervisor, supervisor->options->executable);
    err = spawn_init(supervisor);
    if (err == 0)
        err = tree_init(supervisor);
    return err;
}

/* Behind look_around, or what came instead of it. */
static void settle_in(struct supervisor *supervisor) {
    watch_children(supervisor);
    share_fds_out(supervisor);
    uint64_t jobs = budget_max_jobs(supervisor);
    supervisor->max_jobs = jobs < supervisor->max_jobs ? jobs : supervisor->max_jobs;
}

static struct supervisor supervisor;

int supervisor_run(const struct supervisor_options *options) {
    supervisor = (struct supervisor){.options = options}; /* it may have tried to resume */
    supervisor_early();
#ifdef SYS_close_range
    syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */);
#endif
    int err = build(&supervisor);
    if (err < 0) {
        note("can't start: %s", strerror(-err));
        return 1;
    }
    look_around(&supervisor);
    settle_in(&supervisor);
    program_start(&supervisor);
    keeper_begin(&supervisor);
    loop_run(&supervisor.loop);
    return power_finish(&supervisor);
}

/* 0, or -errno: nothing was changed that who wrote the state would miss. */
static int take_over(struct resume *resume, struct supervisor_options *options, int fd, bool back) {
    int err = resume_open(resume, fd);
    if (err == 0)
        err = resume_settings(resume, options);
    if (err == 0)
        err = build(&supervisor);
    if (err == 0) {
        groups_none(&supervisor.groups);
        err = resume_state(resume, &supervisor, back);
    }
    return err;
}

int supervisor_resume(struct supervisor_options *options, int fd, bool back) {
    static struct resume resume;
    supervisor.options = options;
    supervisor_early();
    int err = take_over(&resume, options, fd, back);
    if (err < 0) {
        note("the state of guestd %.32s can't be taken over: %s", resume.saved.head.build,
             strerror(-err));
        return back ? err : reexec_back(&resume.saved.head, options->arguments, fd);
    }
    resume_commit(&resume, &supervisor);
    close(fd);
    spare_from_oom(&supervisor);
    settle_in(&supervisor);
    reap_all(&supervisor);
    keeper_start(&supervisor);
    loop_run(&supervisor.loop);
    return power_finish(&supervisor);
}
