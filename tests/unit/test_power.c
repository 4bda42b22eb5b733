/* The end of guestd: in order, in time, and with PROGRAM's code. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void check_everybody_goes(const char *env) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.grace_ms = 400, .env = {env}});
    uint64_t polite = rig_shell(&rig, "trap 'echo bye; exit 3' TERM; echo up; sleep 100 & wait",
                                (struct link_spawn){0});
    uint64_t stubborn = rig_shell(&rig, "trap '' TERM; echo up; while :; do sleep 100; done",
                                  (struct link_spawn){0});
    int store;
    rig_started(&rig, polite, &store);
    struct link_spawned spawned = rig_started(&rig, stubborn, NULL);
    uint64_t none[2] = {0, 0};
    rig_look(&rig, polite, none, none, LINK_LOOK_ARM);
    rig_look(&rig, stubborn, none, none, LINK_LOOK_ARM);
    rig_expect(&rig, LINK_OUTPUT, polite, NULL);
    rig_expect(&rig, LINK_OUTPUT, stubborn, NULL);
    /* A daemon whose job is answered already. */
    uint64_t daemon = rig_shell(&rig, "(trap '' TERM; setsid sleep 100 >/dev/null 2>&1 & echo $!)",
                                (struct link_spawn){0});
    int daemon_store;
    rig_started(&rig, daemon, &daemon_store);
    rig_exited(&rig, daemon);
    char *text = rig_output(daemon_store, 0, NULL, NULL);
    pid_t daemon_pid = atoi(text);
    free(text);
    assert_true(rig_alive(daemon_pid));

    int64_t begin = now_ms();
    kill(rig.supervisor, SIGTERM);
    rig_expect(&rig, LINK_STOPPING, 0, NULL);
    struct link_result result = rig_exited(&rig, polite);
    assert_int_equal(WEXITSTATUS(result.wait_status), 3);
    text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "up\nbye\n");
    free(text);
    uint64_t late = rig_shell(&rig, "true", (struct link_spawn){0});
    struct link_spawned refused = rig_expect(&rig, LINK_SPAWNED, late, NULL).spawned;
    assert_int_equal(refused.err, EBUSY);
    assert_int_equal(refused.stage, LINK_STAGE_BUSY);
    result = rig_exited(&rig, stubborn);
    assert_int_equal(WTERMSIG(result.wait_status), SIGKILL);
    assert_int_equal(result.reason, LINK_REASON_KILLED);
    assert_int_equal(rig_wait(&rig), 0);
    assert_in_range(now_ms() - begin, 400, 10000);
    assert_false(rig_alive(spawned.pid));
    assert_false(rig_alive(daemon_pid));
    close(store);
    close(daemon_store);
}

static void test_everybody_goes(void **state) {
    check_everybody_goes(NULL);
}

static void test_everybody_goes_without_cgroup(void **state) {
    check_everybody_goes("GUESTD_NO_CGROUP=1");
}

static void test_power_orders(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    struct link_power order = {
        .h = {LINK_POWER, sizeof order}, .request = 7, .mode = LINK_POWER_OFF};
    rig_send(&rig, &order, sizeof order, NULL, 0);
    assert_int_equal(rig_done(&rig, 7), EPERM);
    order = (struct link_power){.h = order.h, .request = 8, .mode = LINK_POWER_REBOOT};
    rig_send(&rig, &order, sizeof order, NULL, 0);
    assert_int_equal(rig_done(&rig, 8), EPERM);
    order =
        (struct link_power){.h = order.h, .request = 9, .mode = LINK_POWER_EXIT, .grace_ms = 100};
    rig_send(&rig, &order, sizeof order, NULL, 0);
    assert_int_equal(rig_done(&rig, 9), 0);
    assert_int_equal(rig_wait(&rig), 0);
}

static int run_program(const char *script, const char *env) {
    const char *argv[] = {"sh", "-c", script, NULL};
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.program = (char *const *)(uintptr_t)argv,
                                          .env = {env},
                                          .wait_table = true});
    return rig_wait(&rig);
}

static void test_program_codes(void **state) {
    assert_int_equal(run_program("exit 0", NULL), 0);
    assert_int_equal(run_program("exit 1", NULL), 1);
    assert_int_equal(run_program("exit 255", NULL), 255);
    assert_int_equal(run_program("kill -KILL $$", NULL), 128 + SIGKILL);
    assert_int_equal(run_program("kill -SEGV $$", "GUESTD_NO_CGROUP=1"), 128 + SIGSEGV);
    assert_int_equal(run_program("test -z \"$GUESTD_SECRET$LISTEN_FDS$NOTIFY_SOCKET\"; exit $?",
                                 "GUESTD_SECRET=1"),
                     0);
}

/* Nobody is left to be given grace. */
static void test_program_that_is_not_there(void **state) {
    const char *argv[] = {"no-such-program-here", NULL};
    struct rig rig;
    int64_t begin = now_ms();
    rig_start(&rig, &(struct rig_options){.program = (char *const *)(uintptr_t)argv,
                                          .no_agent = true,
                                          .grace_ms = 10000});
    assert_int_equal(rig_wait(&rig), 127);
    assert_true(now_ms() - begin < 5000);
}

/* It is a job like others: in the table, with its arguments as facts; SIGTERM reaches it and its
 * code counts. */
static void test_program_is_a_job(void **state) {
    const char *argv[] = {
        "sh", "-c", "trap 'exit 42' TERM; kill -USR1 $PPID; while :; do sleep 0.02; done", NULL};
    struct rig rig;
    rig_start(&rig,
              &(struct rig_options){.program = (char *const *)(uintptr_t)argv, .wait_table = true});
    int store;
    struct link_job job = rig_expect(&rig, LINK_JOB, 0, &store).job;
    assert_int_equal(job.flags & LINK_SPAWN_MAIN, LINK_SPAWN_MAIN);
    struct store_head head;
    assert_int_equal(pread(store, &head, sizeof head, 0), sizeof head);
    char facts[256] = "";
    assert_int_equal(pread(store, facts, head.facts_len, (off_t)head.facts_at), head.facts_len);
    assert_string_equal(facts, "sh");
    assert_string_equal(facts + 3, "-c");
    assert_int_equal(head.ring[0].eof, 1);
    close(store);
    usleep(300000); /* for the trap to be set */
    kill(rig.supervisor, SIGTERM);
    assert_int_equal(rig_wait(&rig), 42);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_goes),
        cmocka_unit_test(test_everybody_goes_without_cgroup),
        cmocka_unit_test(test_power_orders),
        cmocka_unit_test(test_program_codes),
        cmocka_unit_test(test_program_that_is_not_there),
        cmocka_unit_test(test_program_is_a_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
