/* The supervisor executes another file, here always the test's own: what runs goes on, and whatever
 * goes wrong on the way, it is there as before. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "jobs_file.h"
#include "lingering.h"
#include "rig.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static int copy_of(const char *path) {
    char bytes[65536];
    ssize_t len;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int to = memfd_create("executable", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(from >= 0 && to >= 0);
    while ((len = read(from, bytes, sizeof bytes)) > 0)
        assert_int_equal(write(to, bytes, (size_t)len), len);
    close(from);
    assert_int_equal(fcntl(to, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return to;
}

/* LINK_DONE's err. */
static int order(struct rig *rig, const char *path) {
    struct link_upgrade upgrade = {
        .h = {LINK_UPGRADE, sizeof upgrade}, .request = 77, .flags = LINK_UPGRADE_SUPERVISOR};
    int fd = copy_of(path);
    rig_send(rig, &upgrade, sizeof upgrade, &fd, 1);
    close(fd);
    return rig_done(rig, 77);
}

/* As an agent does: the link's end is its call to go. */
static void leave(struct rig *rig) {
    pid_t agent = rig->agent;
    rig_until(!rig_alive(agent));
}

static void upgrade(struct rig *rig, bool wait_table) {
    assert_int_equal(order(rig, "/proc/self/exe"), 0);
    leave(rig);
    rig_next_agent(rig, wait_table);
}

/* Nothing of ours leaks into the agent: jobs' fds are above those that it has by itself. */
static void check_agent(const struct rig *rig) {
    char path[64], target[256];
    for (int fd = 0; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)rig->agent, fd);
        ssize_t len = readlink(path, target, sizeof target - 1);
        target[len > 0 ? len : 0] = 0;
        assert_null(strstr(target, "guestd-"));
        assert_null(strstr(target, "pidfd"));
    }
}

static void check_works(struct rig *rig) {
    check_agent(rig);
    uint64_t job = rig_shell(rig, "ls -l /proc/self/fd | grep -c -e memfd -e socket -e event",
                             (struct link_spawn){0});
    int store;
    rig_started(rig, job, &store);
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "0\n"); /* nothing of ours leaks into it */
    free(text);
    close(store);
    rig_ref(rig, LINK_FORGET, job);
}

static void test_jobs_go_on(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    const char *argv[] = {"/bin/sh", "-c", "echo before; read line; echo $line; exit 6", NULL};
    uint64_t running = rig_spawn(
        &rig, &(struct rig_job){
                  .argv = argv, .facts = "what it is", .order = {.flags = LINK_SPAWN_STDIN_OPEN}});
    struct link_spawned spawned = rig_started(&rig, running, NULL);
    uint64_t over = rig_shell(&rig, "echo done; exit 5", (struct link_spawn){0});
    rig_started(&rig, over, NULL);
    struct link_result told = rig_exited(&rig, over);
    for (unsigned n = 1; n <= 3; n++) {
        upgrade(&rig, true);
        assert_int_equal(rig.hello.reexecs, n);
        assert_int_equal(rig.hello.restarts, n);
        assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_DONE);
        int store;
        struct link_job job = rig_expect(&rig, LINK_JOB, running, &store).job;
        assert_int_equal(job.pid, spawned.pid);
        assert_false(job.exited);
        assert_true((fcntl(store, F_GET_SEALS) & F_SEAL_FUTURE_WRITE) != 0);
        close(store);
        job = rig_expect(&rig, LINK_JOB, over, NULL).job;
        assert_true(job.exited);
        assert_memory_equal(&job.result, &told, sizeof told);
        rig_expect(&rig, LINK_JOBS_END, 0, NULL);
        struct link_serving serving = {.h = {LINK_SERVING, sizeof serving}};
        rig_send(&rig, &serving, sizeof serving, NULL, 0);
        check_works(&rig);
    }
    struct {
        struct link_input head;
        char bytes[6];
    } input = {{.h = {LINK_INPUT, sizeof input.head + 6}, .job = running, .len = 6}, "after\n"};
    rig_send(&rig, &input, input.head.h.size, NULL, 0);
    assert_int_equal(WEXITSTATUS(rig_exited(&rig, running).wait_status), 6);
    assert_int_equal(rig_stop(&rig), 0);
}

/* What was asked for just before begins, and the next agent learns of each. */
static void test_starts_that_are_under_way(void **state) {
    enum { MANY = 60 };
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job[MANY];
    for (unsigned i = 0; i < MANY; i++)
        job[i] = rig_shell(&rig, "exec sleep 60", (struct link_spawn){0});
    upgrade(&rig, true);
    for (unsigned i = 0; i < MANY; i++)
        assert_true(rig_expect(&rig, LINK_JOB, job[i], NULL).job.pid > 0);
    rig_expect(&rig, LINK_JOBS_END, 0, NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

static void check_facts(int spec, const char *facts) {
    char bytes[8192];
    ssize_t len = pread(spec, bytes, sizeof bytes, 0);
    assert_int_equal(((struct link_spec *)(void *)bytes)->facts, strlen(facts));
    assert_memory_equal(bytes + len - strlen(facts), facts, strlen(facts));
    assert_true((fcntl(spec, F_GET_SEALS) & F_SEAL_WRITE) != 0);
}

/* A start that hangs (here: born into a frozen group) would be lost by an exec: one is waited for,
 * for a while, and one that has hung for long is a reason to refuse. */
static void test_a_start_that_hangs(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job = rig_shell(&rig, "exec sleep 60", (struct link_spawn){0});
    rig_started(&rig, job, NULL);
    if (rig.hello.kill_tree != LINK_KILL_CGROUP || !write_jobs_file(&rig, "cgroup.freeze", "1"))
        skip();
    static const char *const argv[] = {"/bin/sleep", "60", NULL};
    uint64_t hung = rig_spawn(&rig, &(struct rig_job){.argv = argv, .facts = "who it is"});
    upgrade(&rig, true);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_ROLLED_BACK);
    assert_int_equal(rig.hello.reexecs, 0);
    int spec;
    assert_int_equal(rig_expect(&rig, LINK_JOB, hung, &spec).job.pid, 0);
    check_facts(spec, "who it is");
    close(spec);
    assert_int_equal(order(&rig, "/proc/self/exe"), EBUSY);
    assert_true(write_jobs_file(&rig, "cgroup.freeze", "0"));
    rig_started(&rig, hung, NULL);
    upgrade(&rig, true);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_DONE);
    assert_true(rig_expect(&rig, LINK_JOB, hung, NULL).job.pid > 0);
    assert_int_equal(rig_stop(&rig), 0);
}

/* So would a thread that hangs in a close be waited for, by the kernel. */
static void test_a_close_that_hangs(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    struct link_spawn spec = {
        .h = {LINK_SPAWN, sizeof spec}, .job = 99, .store = {{.size = 4096}, {.size = 4096}}};
    int peer, fd = lingering(&peer);
    kill(rig.supervisor, SIGSTOP);
    rig_send(&rig, &spec, sizeof spec, (const int[]){fd, fd},
             2); /* one too many: closed, and it dies */
    close(fd);
    kill(rig.supervisor, SIGCONT);
    rig_next_agent(&rig, false);
    upgrade(&rig, false);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_ROLLED_BACK);
    assert_int_equal(rig.hello.reexecs, 0);
    close(peer);
    upgrade(&rig, false);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_DONE);
    assert_int_equal(rig.hello.reexecs, 1);
    assert_int_equal(rig_stop(&rig), 0);
}

/* The state is readable, but there are no fds for a loop: the next one goes back. */
static void test_one_that_can_not_take_over(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {"RIG_REFUSE=1"}});
    uint64_t job = rig_shell(&rig, "sleep 0.5; echo on; exit 3", (struct link_spawn){0});
    rig_started(&rig, job, NULL);
    upgrade(&rig, true);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_ROLLED_BACK);
    assert_true(rig.hello.upgrade_at > 0);
    int store;
    rig_inherited(&rig, job, &store);
    assert_int_equal(WEXITSTATUS(rig_exited(&rig, job).wait_status), 3);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "on\n");
    free(text);
    close(store);
    assert_int_equal(rig_stop(&rig), 0);
}

/* The exec itself fails: there are more arguments than the kernel takes, which the child that was
 * asked didn't have. */
static void test_an_exec_that_fails(void **state) {
    enum { LEN = 120000, COUNT = 100 };
    static char *arguments[COUNT + 1];
    char *long_one = malloc(LEN);
    memset(long_one, 'x', LEN - 1);
    long_one[LEN - 1] = 0;
    for (unsigned i = 0; i < COUNT; i++)
        arguments[i] = long_one;
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.arguments = arguments});
    uint64_t job = rig_shell(&rig, "sleep 0.5; echo on", (struct link_spawn){0});
    rig_started(&rig, job, NULL);
    upgrade(&rig, true);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_ROLLED_BACK);
    assert_int_equal(rig.hello.reexecs, 0);
    int store;
    rig_inherited(&rig, job, &store);
    assert_true((fcntl(store, F_GET_SEALS) & F_SEAL_FUTURE_WRITE) != 0);
    rig_exited(&rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "on\n");
    free(text);
    close(store);
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
    free(long_one);
}

/* It comes, and its agent never serves. */
static void test_an_agent_that_does_not_serve(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job = rig_shell(&rig, "exec sleep 60", (struct link_spawn){0});
    rig_started(&rig, job, NULL);
    upgrade(&rig, true);
    assert_int_equal(rig.hello.reexecs, 1);
    rig_until(!rig_alive(rig.agent));
    rig_next_agent(&rig, true);
    assert_int_equal(rig.hello.reexecs, 2);
    assert_int_equal(rig.hello.upgrade, LINK_UPGRADE_ROLLED_BACK);
    assert_false(rig_expect(&rig, LINK_JOB, job, NULL).job.exited);
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_files_that_are_refused(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    assert_int_equal(order(&rig, "/bin/true"), ENOEXEC);
    assert_int_equal(order(&rig, "/bin/false"), ENOEXEC);
    assert_int_equal(order(&rig, "/etc/passwd"), ENOEXEC);
    assert_true(rig_alive(rig.agent));
    check_works(&rig);
    assert_int_equal(rig_stop(&rig), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs_go_on),
        cmocka_unit_test(test_starts_that_are_under_way),
        cmocka_unit_test(test_a_start_that_hangs),
        cmocka_unit_test(test_a_close_that_hangs),
        cmocka_unit_test(test_one_that_can_not_take_over),
        cmocka_unit_test(test_an_exec_that_fails),
        cmocka_unit_test(test_an_agent_that_does_not_serve),
        cmocka_unit_test(test_files_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
