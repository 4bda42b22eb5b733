/* A supervisor that goes on from a state that lies in tests/unit/golden: what was written by builds
 * of another layout lives on in this one. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "golden.h"
#include "rig.h"
#include "supervisor/proc.h"

/* The jobs of all of them. */
#define RUNS UINT64_C(0x100000001)
#define TIMED_OUT UINT64_C(0x100000002)
#define EXITED UINT64_C(0x100000003)

static const char *layout;

/* ── the world that it tells of ── */

static void put_at(int number, int fd) {
    if (fd < 0 || dup3(fd, number, O_CLOEXEC) < 0)
        abort();
    close(fd);
}

static int make_store(const char *text) {
    int fd = memfd_create("store", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    struct store_head head = {
        .magic = STORE_MAGIC, .version = LINK_VERSION, .facts_at = sizeof head, .facts_len = 5};
    for (unsigned c = 0; c < 2; c++) {
        head.ring[c].at = STORE_PAGE * (1 + c);
        head.ring[c].size = STORE_PAGE;
        head.ring[c].mode = STORE_HEAD;
    }
    head.ring[0].end = strlen(text);
    if (ftruncate(fd, 3 * STORE_PAGE) < 0 || pwrite(fd, &head, sizeof head, 0) < 0 ||
        pwrite(fd, "facts", 5, sizeof head) < 0 || pwrite(fd, text, strlen(text), STORE_PAGE) < 0)
        abort();
    return fd;
}

/* A program as the supervisor starts them: in its session, its pipes at `first` and behind. */
static pid_t make_program(char *const argv[], int stdin_at, int pidfd_at) {
    int in[2], out[2], err[2];
    if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        abort();
    pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setsid();
        dup2(in[0], 0);
        dup2(out[1], 1);
        dup2(err[1], 2);
        execvp(argv[0], argv);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    close(err[1]);
    for (int i = 0; i < 2; i++)
        fcntl(i == 0 ? out[0] : err[0], F_SETFL, O_RDONLY | O_NONBLOCK);
    fcntl(in[1], F_SETFL, O_WRONLY | O_NONBLOCK);
    put_at(pidfd_at, (int)syscall(SYS_pidfd_open, pid, 0));
    put_at(pidfd_at + 1, out[0]);
    put_at(pidfd_at + 2, err[0]);
    if (stdin_at > 0)
        put_at(stdin_at, in[1]);
    else
        close(in[1]);
    return pid;
}

static int make_world(const struct rig *rig) {
    static struct golden golden;
    char *cat[] = {(char[]){"cat"}, NULL}, *sleeps[] = {(char[]){"sleep"}, (char[]){"60"}, NULL};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(listener, (struct sockaddr *)&address, sizeof address.sun_family);
    listen(listener, 1);
    put_at(100, open("/proc/self/exe", O_PATH | O_CLOEXEC));
    put_at(101, proc_open());
    put_at(102, open("/dev/null", O_RDONLY | O_CLOEXEC));
    put_at(103, listener);
    put_at(110, make_store("golden"));
    put_at(118, make_store(""));
    put_at(120, make_store("done"));
    put_at(130, open("/dev/null", O_RDONLY | O_CLOEXEC));
    golden.pid[0] = make_program(cat, 114, 111);
    golden.pid[1] = make_program(sleeps, 0, 115);
    golden_read(&golden, layout);
    return golden_file(golden.bytes, golden.len);
}

/* ── what is looked at ── */

static bool is_open(const struct rig *rig, int fd) {
    char path[64], target[8];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)rig->supervisor, fd);
    return readlink(path, target, sizeof target) > 0;
}

static void check_store(int store, const char *text) {
    char *kept = rig_output(store, 0, NULL, NULL);
    assert_string_equal(kept, text);
    free(kept);
    close(store);
}

/* The program that ran goes on to its end: its stdin, its output. */
static void check_running(struct rig *rig) {
    int store;
    struct link_job job = rig_expect(rig, LINK_JOB, RUNS, &store).job;
    assert_false(job.exited);
    assert_int_equal(job.flags, LINK_SPAWN_STDIN_OPEN);
    assert_true(job.started_at == 1000.25);
    struct link_taken taken = rig_expect(rig, LINK_TAKEN, RUNS, NULL).taken;
    assert_int_equal(taken.taken, 11);
    struct link_result result = rig_exited(rig, RUNS);
    assert_int_equal(result.wait_status, 0);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_true((fcntl(store, F_GET_SEALS) & F_SEAL_SHRINK) != 0);
    assert_true(mmap(NULL, STORE_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, store, 0) == MAP_FAILED);
    check_store(store, "goldenwaits.");
}

static void check_exited(struct rig *rig) {
    int store;
    struct link_job job = rig_expect(rig, LINK_JOB, EXITED, &store).job;
    struct link_result told = {
        .wait_status = 0x500,
        .reason = LINK_REASON_EXITED,
        .pipes_open = 1,
        .oom_killed = -1,
        .descendants = 2,
        .killed_descendants = 3,
        .duration_ms = 44,
        .cpu_user_ms = 45,
        .cpu_sys_ms = 46,
        .max_rss_kb = 47,
        .exited_at = 1001.5,
    };
    assert_true(job.exited);
    assert_int_equal(job.pid, 54321);
    assert_memory_equal(&job.result, &told, sizeof told);
    check_store(store, "done");
}

static void resume(struct rig *rig, const char *name) {
    layout = name;
    rig_start(rig, &(struct rig_options){.resume = make_world, .wait_table = true});
    assert_int_equal(rig->hello.job_nonce, 0x1122334455667788);
    assert_int_equal(rig->hello.started_mono_ns, 42);
    assert_true(rig->hello.last_active_at == 1234.5);
    assert_int_equal(rig->hello.processes_started, 9);
    assert_int_equal(rig->hello.nofile.rlim_cur, 1000);
    assert_int_equal(rig->hello.nofile.rlim_max, 2000);
    assert_int_equal(rig->hello.config.limit[0], 11);
    assert_int_equal(rig->hello.config.limit[2], 13);
    assert_int_equal(rig->hello.listeners, 1);
    assert_string_equal(rig->hello.listener[0].name, "unix:/golden");
}

static void check_all(struct rig *rig) {
    assert_int_equal(rig->hello.restarts, 4);
    assert_int_equal(rig->hello.reexecs, 3);
    assert_int_equal(rig->hello.upgrade, LINK_UPGRADE_DONE);
    assert_true(rig->hello.upgrade_at == 99.5);
    assert_int_equal(rig->hello.config.allow_cid[0], 77);
    assert_int_equal(rig->hello.config.token_len, 6);
    assert_memory_equal(rig->hello.config.token, "secret", 6);
    assert_string_equal(rig->hello.config.ready, "unix:/golden-ready");
    check_running(rig);
    rig_inherited(rig, TIMED_OUT, NULL);
    struct link_result result = rig_exited(rig, TIMED_OUT);
    assert_int_equal(result.reason, LINK_REASON_TIMED_OUT);
    assert_int_equal(WTERMSIG(result.wait_status), SIGKILL);
    check_exited(rig);
}

static void test_layout_1(void **state) {
    struct rig rig;
    resume(&rig, "state-1");
    check_all(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_an_older_one(void **state) {
    struct rig rig;
    resume(&rig, "state-0");
    assert_int_equal(rig.hello.restarts, 0);
    assert_int_equal(rig.hello.reexecs, 1);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_NONE);
    assert_int_equal(rig.hello.config.allow_cids, 0);
    assert_int_equal(rig.hello.config.token_len, 0);
    check_running(&rig);
    check_exited(&rig);
    rig_inherited(&rig, TIMED_OUT, NULL);
    assert_false(rig_comes(&rig, LINK_EXITED, TIMED_OUT, 50)); /* it was told of no deadline */
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_a_newer_one(void **state) {
    struct rig rig;
    resume(&rig, "state-2");
    check_all(&rig);
    assert_false(is_open(&rig, 130)); /* what only the newer one has a use for */
    assert_true(is_open(&rig, 103));
    assert_int_equal(rig_stop(&rig), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout_1),
        cmocka_unit_test(test_an_older_one),
        cmocka_unit_test(test_a_newer_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
