/* Starts: that they happen as ordered, and that what can't start says why. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "jobs_file.h"
#include "rig.h"

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})

static int start(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    *state = &rig;
    return 0;
}

static int start_forking(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {"GUESTD_NO_CLONE3=1"}});
    *state = &rig;
    return 0;
}

static int stop(void **state) {
    return rig_stop(*state);
}

static void check_failure(struct rig *rig, struct rig_job job, int err, uint32_t stage) {
    struct link_spawned spawned = rig_expect(rig, LINK_SPAWNED, rig_spawn(rig, &job), NULL).spawned;
    assert_int_equal(spawned.err, err);
    assert_int_equal(spawned.stage, stage);
}

static void check_shell(struct rig *rig, const char *script, int exit_code, const char *out,
                        const char *err) {
    int store;
    uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL), *errors = rig_output(store, 1, NULL, NULL);
    assert_string_equal(text, out);
    assert_string_equal(errors, err);
    assert_true(WIFEXITED(result.wait_status));
    assert_int_equal(WEXITSTATUS(result.wait_status), exit_code);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_int_equal(result.pipes_open, 0);
    free(text);
    free(errors);
    close(store);
}

static void test_output_and_status(void **state) {
    struct rig *rig = *state;
    check_shell(rig, "printf out; printf err >&2; exit 7", 7, "out", "err");
    check_shell(rig, ":", 0, "", "");
}

/* The pid of a program that is over at once must not be lost between the reaper and its spawn
 * thread. */
static void test_many_short_ones(void **state) {
    struct rig *rig = *state;
    enum { MANY = 300, AT_ONCE = 20 };
    for (int i = 0; i < MANY; i += AT_ONCE) {
        uint64_t job[AT_ONCE];
        for (int j = 0; j < AT_ONCE; j++)
            job[j] = rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/true")});
        for (int j = 0; j < AT_ONCE; j++) {
            rig_started(rig, job[j], NULL);
            assert_int_equal(rig_exited(rig, job[j]).wait_status, 0);
            rig_ref(rig, LINK_FORGET, job[j]);
        }
    }
}

static void test_all_exit_codes(void **state) {
    struct rig *rig = *state;
    for (int code = 0; code < 256; code++) {
        char script[32];
        snprintf(script, sizeof script, "exit %d", code);
        uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
        rig_started(rig, job, NULL);
        assert_int_equal(WEXITSTATUS(rig_exited(rig, job).wait_status), code);
        rig_ref(rig, LINK_FORGET, job);
    }
}

static void check_input(struct rig *rig, bool spec_in_file) {
    int store;
    uint64_t job = rig_spawn(
        rig,
        &(struct rig_job){.argv = ARGV("/bin/cat"), .input = "hello\n", .in_file = spec_in_file});
    rig_started(rig, job, &store);
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "hello\n");
    free(text);
    close(store);
}

/* The file of stdin is the last, whether the spec is one too or not. */
static void test_input(void **state) {
    check_input(*state, false);
    check_input(*state, true);
    check_shell(*state, "readlink /proc/self/fd/0; cat", 0, "/dev/null\n", "");
}

/* umask, session, signals, fds, oom score, limits: contract §4, "Children start with". */
static void test_clean_child(void **state) {
    struct rig *rig = *state;
    check_shell(rig, "umask; cat /proc/self/oom_score_adj; ls /proc/self/fd | wc -l", 0,
                "0022\n0\n4\n", "");
    check_shell(rig, "grep -E 'SigBlk|SigIgn|SigPnd' /proc/self/status | cut -f2 | sort -u", 0,
                "0000000000000000\n", "");
    check_shell(rig,
                "read -r pid name state ppid pgrp session rest </proc/self/stat; test $pid = $$ && "
                "test $pgrp = $$ && test $session = $$",
                0, "", "");
    struct rlimit own;
    getrlimit(RLIMIT_NOFILE, &own);
    char expected[64];
    snprintf(expected, sizeof expected, "%llu %llu\n", (unsigned long long)own.rlim_cur,
             (unsigned long long)own.rlim_max);
    check_shell(rig, "echo $(ulimit -Sn) $(ulimit -Hn)", 0, expected, "");
}

static void test_cwd_and_environment(void **state) {
    struct rig *rig = *state;
    int store;
    struct rig_job spec = {.argv = ARGV("/bin/sh", "-c", "pwd; env | sort"),
                           .cwd = "/usr",
                           .envp = ARGV("A=1", "B=x y")};
    uint64_t job = rig_spawn(rig, &spec);
    rig_started(rig, job, &store);
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "/usr\nA=1\nB=x y\nPWD=/usr\n");
    free(text);
    close(store);
}

static void test_user_and_groups(void **state) {
    struct rig *rig = *state;
    if (geteuid() != 0)
        skip();
    int store;
    uint32_t groups[] = {100, 2000};
    struct rig_job spec = {
        .argv = ARGV("/usr/bin/id"),
        .groups = groups,
        .n_groups = 2,
        .order = {.flags = LINK_SPAWN_SET_USER, .uid = 54321, .gid = 54322},
    };
    uint64_t job = rig_spawn(rig, &spec);
    rig_started(rig, job, &store);
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_non_null(strstr(text, "uid=54321 gid=54322 groups=54322,100(users),2000"));
    free(text);
    close(store);
    /* The directory is entered as the user. */
    char secret[] = "/tmp/guestd-test-XXXXXX";
    assert_non_null(mkdtemp(secret));
    spec.cwd = secret;
    check_failure(rig, spec, EACCES, LINK_STAGE_CWD);
    rmdir(secret);
}

static void test_failures(void **state) {
    struct rig *rig = *state;
    check_failure(rig, (struct rig_job){.argv = ARGV("/no/such/program")}, ENOENT, LINK_STAGE_CMD);
    check_failure(rig, (struct rig_job){.argv = ARGV("/usr")}, EACCES, LINK_STAGE_CMD);
    check_failure(rig, (struct rig_job){.argv = ARGV("/etc/passwd")}, EACCES, LINK_STAGE_CMD);
    check_failure(rig, (struct rig_job){.argv = ARGV("/bin/true"), .cwd = "/no/such/place"}, ENOENT,
                  LINK_STAGE_CWD);
    check_failure(rig, (struct rig_job){.argv = ARGV("/bin/true"), .cwd = "/etc/passwd"}, ENOTDIR,
                  LINK_STAGE_CWD);
    char *large = malloc(200 << 10);
    memset(large, 'x', 200 << 10);
    large[(200 << 10) - 1] = 0;
    check_failure(rig, (struct rig_job){.argv = ARGV("/bin/true", large)}, E2BIG, LINK_STAGE_ARGS);
    free(large);

    char script[] = "/tmp/guestd-test-XXXXXX";
    int fd = mkstemp(script);
    assert_int_equal(write(fd, "no program\n", 11), 11);
    fchmod(fd, 0755);
    close(fd);
    check_failure(rig, (struct rig_job){.argv = ARGV(script)}, ENOEXEC, LINK_STAGE_CMD);
    unlink(script);
}

static void test_candidates(void **state) {
    struct rig *rig = *state;
    struct rig_job spec = {
        .argv = ARGV("true"),
        .candidates = ARGV("/nowhere/true", "/etc/passwd/true", "/etc/passwd", "/bin/true")};
    uint64_t job = rig_spawn(rig, &spec);
    rig_started(rig, job, NULL);
    assert_int_equal(rig_exited(rig, job).wait_status, 0);
    /* One that was forbidden is what is told, also when others after it don't exist. */
    spec.candidates = ARGV("/etc/passwd", "/nowhere/true");
    check_failure(rig, spec, EACCES, LINK_STAGE_CMD);
}

/* Nothing of a failed start stays: no process, no fd. */
static unsigned count_fds(pid_t pid) {
    char command[64];
    snprintf(command, sizeof command, "ls /proc/%d/fd | wc -l", (int)pid);
    FILE *pipe = popen(command, "r");
    unsigned count = 0;
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

static void test_failures_leave_nothing(void **state) {
    struct rig *rig = *state;
    unsigned before = count_fds(rig->supervisor);
    for (int i = 0; i < 100; i++) {
        check_failure(rig, (struct rig_job){.argv = ARGV("/no/such/program")}, ENOENT,
                      LINK_STAGE_CMD);
        uint64_t job = rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/true")});
        rig_started(rig, job, NULL);
        rig_exited(rig, job);
        rig_ref(rig, LINK_FORGET, job);
    }
    assert_int_equal(rig_done(rig, rig_signal(rig, 999999, SIGKILL, LINK_SCOPE_TREE)),
                     ESRCH); /* all forgotten */
    rig_until(count_fds(rig->supervisor) == before);
    char path[64], children[512] = "";
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)rig->supervisor,
             (int)rig->supervisor);
    int fd = open(path, O_RDONLY);
    assert_true(read(fd, children, sizeof children - 1) > 0);
    close(fd);
    char agent[32];
    snprintf(agent, sizeof agent, "%d ", (int)rig->agent);
    assert_string_equal(children, agent);
}

static void test_too_many(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.max_jobs = 2});
    assert_int_equal(rig.hello.max_jobs, 2);
    uint64_t first = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    uint64_t second = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    rig_started(&rig, first, NULL);
    rig_started(&rig, second, NULL);
    check_failure(&rig, (struct rig_job){.argv = ARGV("/bin/true")}, EAGAIN, LINK_STAGE_NONE);
    rig_signal(&rig, first, SIGKILL, LINK_SCOPE_LEADER);
    rig_exited(&rig, first);
    uint64_t third = rig_spawn(&rig, &(struct rig_job){.argv = ARGV("/bin/true")});
    rig_started(&rig, third, NULL);
    rig_exited(&rig, third);
    assert_int_equal(rig_stop(&rig), 0);
}

/* Programs that hang in their start (here: born into a frozen group) take all 16 places. Who comes
 * then is told so after a second; the supervisor does everything else meanwhile; and they start
 * when they can. */
static void test_hung_starts(void **state) {
    struct rig *rig = *state;
    enum { PLACES = 16 };
    uint64_t witness = rig_shell(rig, "sleep 100", (struct link_spawn){0});
    rig_started(rig, witness, NULL);
    if (rig->hello.kill_tree != LINK_KILL_CGROUP || !write_jobs_file(rig, "cgroup.freeze", "1"))
        skip();
    uint64_t job[PLACES];
    for (int i = 0; i < PLACES; i++)
        job[i] = rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/true")});
    assert_false(rig_comes(rig, LINK_SPAWNED, 0, 100));
    uint64_t late = rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/true")});
    uint64_t request = rig_signal(rig, witness, SIGKILL, LINK_SCOPE_LEADER);
    assert_int_equal(rig_done(rig, request), 0); /* SIGKILL reaches a frozen one */
    struct link_spawned spawned = rig_expect(rig, LINK_SPAWNED, late, NULL).spawned;
    assert_int_equal(spawned.err, EBUSY);
    assert_int_equal(spawned.stage, LINK_STAGE_BUSY);
    assert_true(write_jobs_file(rig, "cgroup.freeze", "0"));
    for (int i = 0; i < PLACES; i++) {
        rig_started(rig, job[i], NULL);
        assert_int_equal(rig_exited(rig, job[i]).wait_status, 0);
    }
}

/* 4096 at once, with the fds that 20,000 allow: pidfd, two pipes and a store each. */
static void test_as_many_as_promised(void **state) {
    struct rig *rig = *state;
    unsigned many = (unsigned)rig->hello.max_jobs;
    if (many < 4096)
        skip();
    struct link_spawn order = {.store = {{.size = 4096}, {.size = 4096}}};
    uint64_t first =
        rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/sleep", "600"), .order = order});
    for (unsigned i = 1; i < many; i++) {
        rig_spawn(rig, &(struct rig_job){.argv = ARGV("/bin/sleep", "600"), .order = order});
        rig_started(rig, first + i - 1, NULL);
    }
    rig_started(rig, first + many - 1, NULL);
    assert_true(count_fds(rig->supervisor) <= 4 * many + 64);
    check_failure(rig, (struct rig_job){.argv = ARGV("/bin/true")}, EAGAIN, LINK_STAGE_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_output_and_status, start, stop),
        cmocka_unit_test_setup_teardown(test_many_short_ones, start, stop),
        cmocka_unit_test_setup_teardown(test_all_exit_codes, start, stop),
        cmocka_unit_test_setup_teardown(test_input, start, stop),
        cmocka_unit_test_setup_teardown(test_clean_child, start, stop),
        cmocka_unit_test_setup_teardown(test_cwd_and_environment, start, stop),
        cmocka_unit_test_setup_teardown(test_user_and_groups, start, stop),
        cmocka_unit_test_setup_teardown(test_failures, start, stop),
        cmocka_unit_test_setup_teardown(test_candidates, start, stop),
        cmocka_unit_test_setup_teardown(test_failures_leave_nothing, start, stop),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test_setup_teardown(test_hung_starts, start, stop),
        cmocka_unit_test_setup_teardown(test_as_many_as_promised, start, stop),
        {"forked: output and status", test_output_and_status, start_forking, stop, NULL},
        {"forked: many short ones", test_many_short_ones, start_forking, stop, NULL},
        {"forked: clean child", test_clean_child, start_forking, stop, NULL},
        {"forked: failures", test_failures, start_forking, stop, NULL},
        {"forked: failures leave nothing", test_failures_leave_nothing, start_forking, stop, NULL},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
