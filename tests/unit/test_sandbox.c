/*
 * The filters and the dropping of privileges, each in a forked child: what they do can't be undone.
 *
 * A child's exit status is its verdict: 0 is good, another number is the line of the check that
 * failed.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "sandbox/filter.h"
#include "sandbox/privilege.h"
#include "sandbox/profile.h"

#define CHECK(truth)                   \
    do {                               \
        if (!(truth))                  \
            _exit(__LINE__ % 250 + 1); \
    } while (0)
#define REFUSED(expression, err) CHECK((expression) == -1 && errno == (err))

/* Runs `body` in a child and returns its wait status. */
static int in_child(void (*body)(void)) {
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_good(int status) {
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void assert_signal(int status, int sig) {
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), sig);
}

/* --- the agent's filter --- */

static void load(void) {
    struct rlimit no_core = {0, 0};

    setrlimit(RLIMIT_CORE, &no_core);
    CHECK(filter_agent_load() == 0);
}

static void execs(void) {
    load();
    execl("/bin/true", "true", (char *)NULL);
}
static void execs_by_fd(void) {
    int fd = open("/bin/true", O_PATH | O_CLOEXEC);
    char *argv[] = {"true", NULL};

    load();
    syscall(SYS_execveat, fd, "", argv, argv + 1, AT_EMPTY_PATH);
}
static void mounts(void) {
    load();
    mount("none", "/nowhere", "tmpfs", 0, NULL);
}
static void traces(void) {
    load();
    syscall(SYS_ptrace, 0, 0, 0, 0);
}
static void *execs_in_thread(void *unused) {
    syscall(SYS_execve, "/bin/true", NULL, NULL);
    return NULL;
}
static void thread_execs(void) {
    pthread_t thread;

    load();
    CHECK(pthread_create(&thread, NULL, execs_in_thread, NULL) == 0);
    pthread_join(thread, NULL);
}

static void filter_kills(void **state) {
    assert_signal(in_child(execs), SIGSYS);
    assert_signal(in_child(execs_by_fd), SIGSYS);
    assert_signal(in_child(mounts), SIGSYS);
    assert_signal(in_child(traces), SIGSYS);
    assert_signal(in_child(thread_execs), SIGSYS);
}

static void *set_true(void *flag) {
    *(int *)flag = 1;
    return flag;
}

static void refused_calls(void) {
    void *page;

    load();
    REFUSED(fork(), ENOSYS);
    REFUSED(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), ENOSYS);
    REFUSED(syscall(SYS_clone3, NULL, 0), ENOSYS);
    REFUSED(syscall(SYS_io_uring_setup, 1, NULL), ENOSYS);
    REFUSED(syscall(SYS_keyctl, 0), ENOSYS);
    REFUSED(bind(0, NULL, 0), ENOSYS);
    REFUSED(socket(AF_NETLINK, SOCK_RAW, 0), ENOSYS);
    REFUSED(kill(getppid(), 0), ENOSYS);
    REFUSED(prctl(PR_SET_DUMPABLE, 1), ENOSYS);
    REFUSED(syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, &(struct rlimit){1, 1}, NULL), ENOSYS);

    page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    REFUSED(mprotect(page, 4096, PROT_READ | PROT_EXEC), ENOSYS);
    CHECK(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
}

static void filter_refuses_what_is_not_listed(void **state) {
    assert_good(in_child(refused_calls));
}

static void use_what_is_listed(void) {
    pthread_t thread;
    int done = 0, fd, pair[2];
    struct rlimit limit;

    CHECK(pthread_create(&thread, NULL, set_true, &done) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && done == 1);
    fd = memfd_create("t", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 4096) == 0 && pwrite(fd, "x", 1, 7) == 1 && fsync(fd) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    CHECK(prctl(PR_SET_NAME, "agent") == 0);
    CHECK(kill(getpid(), 0) == 0);
    setfsuid(getuid());
}

static void works(void) {
    load();
    use_what_is_listed();
}
static void aborts(void) {
    load();
    abort();
}

static void filter_lets_the_agent_work(void **state) {
    assert_good(in_child(works));
    assert_signal(in_child(aborts), SIGABRT);
}

static int log_pipe[2];

static void logs(void) {
    pthread_t thread;
    int done = 0;

    dup2(log_pipe[1], STDERR_FILENO);
    setenv("GUESTD_SECCOMP_LOG", "1", 1);
    load();
    REFUSED(bind(0, NULL, 0), ENOSYS);
    CHECK(pthread_create(&thread, NULL, set_true, &done) == 0);
    CHECK(pthread_join(thread, NULL) == 0 && done == 1);
}

static void filter_tells_in_development(void **state) {
    char text[256];
    ssize_t n;

    assert_int_equal(pipe(log_pipe), 0);
    assert_good(in_child(logs));
    n = read(log_pipe[0], text, sizeof(text) - 1);
    assert_true(n > 0);
    text[n] = '\0';
    assert_non_null(strstr(text, " is not listed\n"));
    close(log_pipe[0]);
    close(log_pipe[1]);
}

/* --- profiles --- */

/* As the supervisor's child does before exec. */
static void apply_default(void) {
    struct sock_filter *code;
    size_t n;

    CHECK(profile_compile("default", &code, &n) == 0 && n > 0 && n <= BPF_MAXINSNS);
    struct sock_fprog program = {.len = (unsigned short)n, .filter = code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0);
}

static void runs_bash(void) {
    apply_default();
    execlp("bash", "bash", "-c",
           "set -o pipefail; x=$(echo 12 | tr 1 2); [ \"$x\" = 22 ] && (exit 0)", (char *)NULL);
    _exit(250);
}

static void runs_python(void) {
    apply_default();
    execlp("python3", "python3", "-c",
           "import subprocess, threading, tempfile\n"
           "t = threading.Thread(target=lambda: None); t.start(); t.join()\n"
           "assert subprocess.run(['echo', 'a'], capture_output=True).stdout == b'a\\n'\n"
           "tempfile.TemporaryFile().write(b'x')",
           (char *)NULL);
    _exit(0); /* no python here: bash has shown it */
}

static void denied_by_profile(void) {
    apply_default();
    REFUSED(mount("none", "/nowhere", "tmpfs", 0, NULL), EPERM);
    REFUSED(unshare(CLONE_NEWUSER), EPERM);
    REFUSED(unshare(CLONE_NEWNS), EPERM);
    CHECK(unshare(CLONE_FS) == 0);
    REFUSED(setns(0, 0), EPERM);
    REFUSED(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0), EPERM);
    REFUSED(syscall(SYS_clone3, NULL, 0), ENOSYS);
    REFUSED(syscall(SYS_bpf, 0, NULL, 0), EPERM);
    REFUSED(syscall(SYS_keyctl, 0), EPERM);
    REFUSED(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0), EPERM);
    REFUSED(syscall(SYS_reboot, 0, 0, 0, NULL), EPERM);
    REFUSED(sethostname("x", 1), EPERM);
#ifdef __x86_64__
    REFUSED(syscall(0x40000000 + SYS_getpid), ENOSYS); /* x32 */
#endif
}

static void profile_default_refuses(void **state) {
    assert_good(in_child(denied_by_profile));
}

static void profile_default_lets_programs_run(void **state) {
    assert_good(in_child(runs_bash));
    assert_good(in_child(runs_python));
}

static void compiles_under_filter(void) {
    struct sock_filter *code;
    size_t n;

    load();
    CHECK(profile_compile("default", &code, &n) == 0);
    free(code);
}

static void profile_names_and_errors(void **state) {
    const char *const *names;
    struct sock_filter *code = (void *)&names;
    size_t n = 7;

    assert_int_equal(profile_names(&names), 2);
    assert_string_equal(names[0], "none");
    assert_string_equal(names[1], "default");
    assert_null(names[2]);
    assert_int_equal(profile_compile("nosuch", &code, &n), -ENOENT);
    assert_ptr_equal(code, &names);
    assert_int_equal(n, 7);
    assert_int_equal(profile_compile("none", &code, &n), 0);
    assert_null(code);
    assert_int_equal(n, 0);
    assert_good(in_child(compiles_under_filter));
}

/* --- privileges --- */

static void drops(void) {
    struct stat st;

    CHECK(privilege_drop() == 0);
    CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    CHECK(stat("/proc/self/fd/0", &st) == 0);
    if (geteuid() != 0)
        return;
    CHECK(prctl(PR_CAPBSET_READ, 21 /* CAP_SYS_ADMIN */, 0, 0, 0) == 0);
    CHECK(prctl(PR_CAPBSET_READ, 0 /* CAP_CHOWN */, 0, 0, 0) == 1);
    REFUSED(mount("none", "/", "tmpfs", 0, NULL), EPERM);
    REFUSED(sethostname("x", 1), EPERM);
}

static void works_for_users(void) {
    char path[] = "/tmp/sandbox-XXXXXX";
    struct stat st;
    int fd;

    if (geteuid() != 0)
        return;
    CHECK(privilege_drop() == 0);
    fd = mkostemp(path, O_CLOEXEC);
    CHECK(fd >= 0 && fchown(fd, 12345, 12345) == 0 && fchmod(fd, 0600) == 0);
    setfsgid(4242);
    setfsuid(4242);
    REFUSED(open(path, O_RDONLY | O_CLOEXEC), EACCES);
    setfsuid(0);
    setfsgid(0);
    CHECK(open(path, O_RDONLY | O_CLOEXEC) >= 0 && fstat(fd, &st) == 0 && st.st_uid == 12345);
    CHECK(unlink(path) == 0);
}

static void drops_unprivileged(void) {
    if (geteuid() == 0)
        CHECK(syscall(SYS_setresuid, 65534, 65534, 65534) == 0);
    drops();
}

static void privilege_is_dropped(void **state) {
    assert_good(in_child(drops));
    assert_good(in_child(works_for_users));
    assert_good(in_child(drops_unprivileged));
}

static void drop_then_load(void) {
    CHECK(privilege_drop() == 0);
    load();
    use_what_is_listed();
}

static void both_go_together(void **state) {
    assert_good(in_child(drop_then_load));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_kills),
        cmocka_unit_test(filter_refuses_what_is_not_listed),
        cmocka_unit_test(filter_lets_the_agent_work),
        cmocka_unit_test(filter_tells_in_development),
        cmocka_unit_test(profile_default_refuses),
        cmocka_unit_test(profile_default_lets_programs_run),
        cmocka_unit_test(profile_names_and_errors),
        cmocka_unit_test(privilege_is_dropped),
        cmocka_unit_test(both_go_together),
    };
    return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
