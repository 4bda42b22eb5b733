/* How jobs end: by themselves, by timeout, by order; with whom, and what is told. By cgroup and
 * without. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

static char directory[] = "/tmp/guestd-ending-XXXXXX";

static int start(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    *state = &rig;
    return 0;
}

static int start_without_cgroup(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {"GUESTD_NO_CGROUP=1"}});
    assert_int_equal(rig.hello.kill_tree, LINK_KILL_BEST_EFFORT);
    *state = &rig;
    return 0;
}

static int stop(void **state) {
    return rig_stop(*state);
}

static char *scratch(char path[64], const char *name) {
    snprintf(path, 64, "%s/%s", directory, name);
    unlink(path);
    return path;
}

/* The pids that a script wrote, one a line, once there are `count`. */
static void read_pids(const char *path, pid_t *pids, int count) {
    for (int tries = 0; tries < 2000; tries++) {
        FILE *file = fopen(path, "r");
        int got = 0;
        while (file != NULL && got < count && fscanf(file, "%d", &pids[got]) == 1)
            got++;
        if (file != NULL)
            fclose(file);
        if (got == count)
            return;
        usleep(5000);
    }
    fail_msg("no pids in %s", path);
}

/* By then they are all there, on a loaded machine too. */
#define COMPLETE_MS 2500

/* Children that leave the session, lose their parent, and don't listen to SIGTERM. */
#define FAMILY                                                                       \
    "(setsid sh -c 'echo $$ >>%s; trap \"\" TERM; while :; do sleep 100; done' &); " \
    "setsid sh -c 'echo $$ >>%s; sleep 100' & "

static void test_timeout_takes_the_whole_tree(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "timeout");
    snprintf(script, sizeof script, FAMILY "sleep 100", path, path);
    uint64_t job =
        rig_shell(rig, script, (struct link_spawn){.timeout_ms = COMPLETE_MS, .grace_ms = 300});
    rig_started(rig, job, NULL);
    pid_t pids[2];
    read_pids(path, pids, 2);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_TIMED_OUT);
    assert_int_equal(WTERMSIG(result.wait_status), SIGTERM);
    assert_false(rig_alive(pids[0]));
    assert_false(rig_alive(pids[1]));
    assert_int_equal(result.descendants, 0);
    assert_true(result.killed_descendants >= 3);
    assert_in_range(result.duration_ms, COMPLETE_MS, 5000 + COMPLETE_MS);
}

/* Also who lives in a group of its own below the job's: a container's programs do, say. */
static void test_timeout_takes_groups_below(void **state) {
    struct rig *rig = *state;
    if (rig->hello.kill_tree != LINK_KILL_CGROUP)
        skip();
    char path[64], below[64], script[768];
    snprintf(
        script, sizeof script,
        "root=$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/self/mounts)\n"
        "below=$root$(sed -n 's/^0:://p' /proc/self/cgroup)/below; mkdir $below; echo $below >%s\n"
        "(setsid sh -c 'echo 0 >$0/cgroup.procs; echo $$ >%s; exec sleep 100' $below &)\n"
        "exec sleep 100",
        scratch(below, "below"), scratch(path, "groups"));
    uint64_t job =
        rig_shell(rig, script, (struct link_spawn){.timeout_ms = COMPLETE_MS, .grace_ms = 300});
    rig_started(rig, job, NULL);
    pid_t pid;
    read_pids(path, &pid, 1);
    assert_int_equal(rig_exited(rig, job).reason, LINK_REASON_TIMED_OUT);
    bool alive = rig_alive(pid);
    kill(pid, SIGKILL);
    snprintf(script, sizeof script, "test ! -e $(cat %s)", below);
    rig_until(!rig_alive(pid));
    rig_until(system(script) == 0); /* it goes with the job's group */
    assert_false(alive);
}

static void test_timeout_of_one_that_ignores_it(void **state) {
    struct rig *rig = *state;
    uint64_t job = rig_shell(rig, "trap '' TERM; while :; do sleep 1; done",
                             (struct link_spawn){.timeout_ms = 200, .grace_ms = 200});
    rig_started(rig, job, NULL);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_TIMED_OUT);
    assert_int_equal(WTERMSIG(result.wait_status), SIGKILL);
    assert_in_range(result.duration_ms, 400, 5000);
}

/* A program may use its grace: the reason stays. */
static void test_timeout_with_last_words(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = rig_shell(rig, "trap 'echo bye; exit 3' TERM; sleep 100 & wait",
                             (struct link_spawn){.timeout_ms = 200, .grace_ms = 5000});
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_TIMED_OUT);
    assert_int_equal(WEXITSTATUS(result.wait_status), 3);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "bye\n");
    free(text);
    close(store);
}

static void test_cancel(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "cancel");
    snprintf(script, sizeof script, FAMILY "sleep 100", path, path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){.grace_ms = 100});
    rig_started(rig, job, NULL);
    pid_t pids[2];
    read_pids(path, pids, 2);
    rig_ref(rig, LINK_CANCEL, job);
    assert_int_equal(rig_exited(rig, job).reason, LINK_REASON_CANCELLED);
    assert_false(rig_alive(pids[0]));
    assert_false(rig_alive(pids[1]));
}

/* An order that comes while the program is being started is not lost. */
static void test_cancel_at_once(void **state) {
    struct rig *rig = *state;
    for (int i = 0; i < 20; i++) {
        uint64_t job = rig_shell(rig, "sleep 100", (struct link_spawn){.grace_ms = 1000});
        rig_ref(rig, LINK_CANCEL, job);
        rig_started(rig, job, NULL);
        assert_int_equal(rig_exited(rig, job).reason, LINK_REASON_CANCELLED);
    }
}

static void test_kill_of_the_tree(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "kill");
    snprintf(script, sizeof script, FAMILY "sleep 100", path, path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
    struct link_spawned spawned = rig_started(rig, job, NULL);
    pid_t pids[2];
    read_pids(path, pids, 2);
    uint64_t request = rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
    assert_int_equal(rig_done(rig, request), 0);
    assert_false(rig_alive(spawned.pid)); /* DONE comes when the leader is reaped */
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_KILLED);
    assert_false(rig_alive(pids[0]));
    assert_false(rig_alive(pids[1]));
    assert_int_equal(rig_done(rig, rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE)), ESRCH);
}

static void test_kill_of_the_leader_spares_the_rest(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "leader");
    snprintf(script, sizeof script, FAMILY "sleep 100", path, path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
    rig_started(rig, job, NULL);
    pid_t pids[2];
    read_pids(path, pids, 2);
    rig_signal(rig, job, SIGTERM, LINK_SCOPE_LEADER);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_KILLED);
    assert_int_equal(result.killed_descendants, 0);
    assert_true(result.descendants >= 3);
    assert_true(result.pipes_open);
    assert_true(rig_alive(pids[0]));
    assert_true(rig_alive(pids[1]));
    kill(-pids[0], SIGKILL);
    kill(-pids[1], SIGKILL);
}

static void test_daemons_stay(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "daemon");
    snprintf(script, sizeof script,
             "(setsid sh -c 'echo $$ >>%s; sleep 100' >/dev/null 2>&1 &); while ! test -s %s; do "
             ":; done; exit 5",
             path, path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
    rig_started(rig, job, NULL);
    struct link_result result = rig_exited(rig, job);
    pid_t pid;
    read_pids(path, &pid, 1);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_in_range(result.descendants, 1, 2);
    assert_int_equal(result.pipes_open, 0);
    assert_true(rig_alive(pid));
    /* The next job's tree is another one. */
    uint64_t next = rig_shell(rig, "sleep 100", (struct link_spawn){0});
    rig_started(rig, next, NULL);
    rig_signal(rig, next, SIGKILL, LINK_SCOPE_TREE);
    assert_int_equal(rig_exited(rig, next).descendants, 0);
    assert_true(rig_alive(pid));
    kill(-pid, SIGKILL);
}

static void test_kill_rest(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "rest");
    snprintf(script, sizeof script,
             ": >>%s; " FAMILY "while test $(wc -l <%s) -lt 2; do sleep 0.01; done; exit 4", path,
             path, path, path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){.flags = LINK_SPAWN_KILL_REST});
    rig_started(rig, job, NULL);
    struct link_result result = rig_exited(rig, job);
    pid_t pids[2];
    read_pids(path, pids, 2);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_int_equal(WEXITSTATUS(result.wait_status), 4);
    assert_int_equal(result.descendants, 0);
    assert_true(result.killed_descendants >= 2);
    assert_false(rig_alive(pids[0]));
    assert_false(rig_alive(pids[1]));
}

/* Forks faster than one walk can see: it must lose all the same. */
static void test_forking_tree(void **state) {
    struct rig *rig = *state;
    char path[64], script[512];
    scratch(path, "forking");
    snprintf(script, sizeof script,
             "f() { echo x >>%s; while :; do (setsid sleep 0.05 &) ; done; }; f & f & wait", path);
    uint64_t job = rig_shell(rig, script, (struct link_spawn){0});
    rig_started(rig, job, NULL);
    struct stat stat_of_path;
    rig_until(stat(path, &stat_of_path) == 0 && stat_of_path.st_size >= 4);
    usleep(50000);
    rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_KILLED);
    assert_int_equal(result.descendants, 0);
}

static void test_signals_and_reasons(void **state) {
    struct rig *rig = *state;
    uint64_t job = rig_shell(rig, "kill -SEGV $$", (struct link_spawn){0});
    rig_started(rig, job, NULL);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_SIGNALED);
    assert_int_equal(WTERMSIG(result.wait_status), SIGSEGV);

    job = rig_shell(rig, "trap 'exit 9' USR1; echo ready; while :; do sleep 0.01; done",
                    (struct link_spawn){0});
    int store;
    rig_started(rig, job, &store);
    uint64_t none[2] = {0, 0};
    rig_look(rig, job, none, none, LINK_LOOK_ARM);
    rig_expect(rig, LINK_OUTPUT, job, NULL);
    close(store);
    assert_int_equal(rig_done(rig, rig_signal(rig, job, 65, LINK_SCOPE_LEADER)), EINVAL);
    assert_int_equal(rig_done(rig, rig_signal(rig, job, SIGUSR1, 99)), EINVAL);
    assert_int_equal(rig_done(rig, rig_signal(rig, job, SIGUSR1, LINK_SCOPE_LEADER)), 0);
    result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_int_equal(WEXITSTATUS(result.wait_status), 9);
}

static void test_output_limit(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 1000, .mode = STORE_KILL}};
    uint64_t job = rig_shell(rig, "yes", order);
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_OUTPUT_LIMIT);
    uint64_t end;
    char *text = rig_output(store, 0, NULL, &end);
    assert_int_equal(strlen(text), 1000);
    assert_true(end > 1000);
    free(text);
    close(store);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A machine that stood still, as a paused VM does, doesn't time its programs out: deadlines move by
 * that time. */
static void test_standstill(void **state) {
    struct rig *rig = *state;
    enum { STOOD_STILL_MS = 8000, TIMEOUT_MS = 3000 };
    int64_t begin = now_ms();
    uint64_t job = rig_shell(rig, "exec sleep 100", (struct link_spawn){.timeout_ms = TIMEOUT_MS});
    rig_started(rig, job, NULL);
    kill(rig->supervisor, SIGSTOP);
    usleep(STOOD_STILL_MS * 1000);
    kill(rig->supervisor, SIGCONT);
    assert_int_equal(rig_exited(rig, job).reason, LINK_REASON_TIMED_OUT);
    /* Not at the moment of its return; how long it stood still is known to two seconds. */
    assert_in_range(now_ms() - begin, STOOD_STILL_MS + TIMEOUT_MS - 2000,
                    STOOD_STILL_MS + TIMEOUT_MS + 5000);
}

static int make_directory(void **state) {
    return mkdtemp(directory) == NULL;
}

static int remove_directory(void **state) {
    char command[64];
    snprintf(command, sizeof command, "rm -r %s", directory);
    return system(command);
}

#define BOTH(TEST)                                                       \
    {#TEST, TEST, start, stop, NULL}, {                                  \
        "without cgroup: " #TEST, TEST, start_without_cgroup, stop, NULL \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(test_timeout_takes_the_whole_tree),
        cmocka_unit_test_setup_teardown(test_timeout_takes_groups_below, start, stop),
        BOTH(test_timeout_of_one_that_ignores_it),
        BOTH(test_timeout_with_last_words),
        BOTH(test_cancel),
        BOTH(test_cancel_at_once),
        BOTH(test_kill_of_the_tree),
        BOTH(test_kill_of_the_leader_spares_the_rest),
        BOTH(test_daemons_stay),
        BOTH(test_kill_rest),
        BOTH(test_forking_tree),
        cmocka_unit_test_setup_teardown(test_standstill, start, stop),
        BOTH(test_signals_and_reasons),
        BOTH(test_output_limit),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
