/* From one agent to the next: whatever the one was in the midst of, the next is served as the first
 * was. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

#define MANY 400 /* more messages than a link holds unread */

static unsigned count_fds(pid_t pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *directory = opendir(path);
    assert_non_null(directory);
    unsigned count = 0;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

/* An agent that dies before it has read the whole table: the next one gets all of it, and its end.
 */
static void test_table_cut_short(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        job[i] = rig_shell(&rig, "", (struct link_spawn){0});
        rig_started(&rig, job[i], NULL);
        rig_exited(&rig, job[i]);
    }
    for (unsigned deaths = 0; deaths < 3; deaths++) {
        kill(rig.agent, SIGKILL);
        rig_next_agent(&rig, true); /* reads LINK_HELLO only: the link is full behind it */
    }
    for (unsigned i = 0; i < MANY; i++)
        assert_true(rig_expect(&rig, LINK_JOB, job[i], NULL).job.exited);
    rig_expect(&rig, LINK_JOBS_END, 0, NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

static const struct link_spawn streamed = {
    .store = {{.size = 4096, .mode = STORE_BLOCK}, {.size = 4096, .mode = STORE_BLOCK}}};

/* What streamed to an agent's client waits for nobody once that agent is gone for good. */
static void test_block_becomes_drop(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.adoption_ms = 300});
    uint64_t job =
        rig_shell(&rig, "i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done", streamed);
    rig_started(&rig, job, NULL);
    /* One that only starts when its agent goes. */
    uint64_t late = rig_shell(&rig, "seq 100000", streamed);
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    int store[2];
    rig_inherited(&rig, job, &store[0]);
    rig_inherited(&rig, late, &store[1]);
    assert_int_equal(rig_exited(&rig, job).wait_status, 0);
    assert_int_equal(rig_exited(&rig, late).wait_status, 0);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t from;
        char *text = rig_output(store[i], 0, &from, NULL);
        assert_int_equal(strlen(text), 4096);
        assert_int_equal(from > 0, 1);
        assert_string_equal(text + 4096 - 6, i == 0 ? "99999\n" : "00000\n");
        free(text);
        close(store[i]);
    }
    assert_int_equal(rig_stop(&rig), 0);
}

/* The same for one that starts while there is no agent at all: those that die before they serve are
 * longer and longer in coming. */
static void test_nobody_there_at_the_start(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.adoption_ms = 1000});
    for (unsigned deaths = 0; deaths < 5; deaths++) {
        kill(rig.agent, SIGKILL);
        rig_next_agent(&rig, true);
    }
    uint64_t job = rig_shell(&rig, "seq 100000", streamed);
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    rig_inherited(&rig, job, NULL);
    assert_true(rig_comes(&rig, LINK_EXITED, job, 5000));
    assert_int_equal(rig_stop(&rig), 0);
}

/* Acknowledges what there is until the job is over; nothing was overwritten meanwhile. */
static void read_whole(struct rig *rig, uint64_t job, int store, uint64_t bytes) {
    uint64_t from = 0, end = 0;
    while (end < bytes) {
        free(rig_output(store, 0, &from, &end));
        uint64_t seen[2] = {end, 0};
        assert_true(end - from <= 4096);
        rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
        if (end < bytes)
            rig_expect(rig, LINK_OUTPUT, job, NULL);
    }
    assert_int_equal(end, bytes);
}

/* Who streamed it is back in time, one agent after the other: it has waited, and goes on waiting.
 */
static void test_an_adopted_stream_waits(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.adoption_ms = 1000});
    uint64_t job = rig_shell(&rig, "seq 100000", streamed);
    rig_started(&rig, job, NULL);
    int store = -1;
    for (unsigned deaths = 0; deaths < 2; deaths++) {
        kill(rig.agent, SIGKILL);
        rig_next_agent(&rig, true);
        close(store);
        rig_expect(&rig, LINK_JOB, job, &store);
        rig_expect(&rig, LINK_JOBS_END, 0, NULL);
        rig_ref(&rig, LINK_ADOPT, job);
        assert_false(rig_comes(&rig, LINK_EXITED, job, 1500));
    }
    uint64_t from, end;
    free(rig_output(store, 0, &from, &end));
    assert_int_equal(from, 0);
    assert_int_equal(end, 4096);
    read_whole(&rig, job, store, 588895);
    assert_int_equal(rig_exited(&rig, job).wait_status, 0);
    close(store);
    assert_int_equal(rig_stop(&rig), 0);
}

/* Whoever looks at it otherwise is not worth waiting for. */
static void test_a_detached_stream_goes_on_at_once(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job = rig_shell(&rig, "seq 100000", streamed);
    rig_started(&rig, job, NULL);
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    rig_expect(&rig, LINK_JOB, job, NULL);
    assert_false(rig_comes(&rig, LINK_EXITED, job, 300));
    rig_ref(&rig, LINK_DETACH, job);
    assert_true(rig_comes(&rig, LINK_EXITED, job, 5000)); /* 10 s are not over */
    assert_int_equal(rig_stop(&rig), 0);
}

/* What an agent ordered last is done, also when it died with something unread. */
static void test_last_orders(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    rig_signal(&rig, 999, 0, LINK_SCOPE_LEADER);
    assert_int_equal(poll(&(struct pollfd){.fd = rig.link, .events = POLLIN}, 1, 10000), 1);
    kill(rig.supervisor, SIGSTOP);
    uint64_t job = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    kill(rig.agent, SIGKILL);
    rig_until(!rig_alive(rig.agent));
    close(rig.link);
    rig.link = -1;
    kill(rig.supervisor, SIGCONT);
    rig_next_agent(&rig, true);
    rig_inherited(&rig, job, NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

/* LINK_DONE is for who asked: requests of the next agent have the same numbers. */
static void test_no_answer_for_the_one_before(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    struct link_spawned spawned;
    uint64_t job = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    spawned = rig_started(&rig, job, NULL);
    /* Whom we trace is reaped only when we have seen its end. */
    if (ptrace(PTRACE_SEIZE, spawned.pid, NULL, NULL) < 0)
        skip();
    rig_signal(&rig, job, SIGKILL, LINK_SCOPE_LEADER);
    assert_int_equal(rig_done(&rig, rig_signal(&rig, 999, 0, LINK_SCOPE_LEADER)), ESRCH);
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, false);
    rig_expect(&rig, LINK_JOB, job, NULL);
    assert_int_equal(waitpid(spawned.pid, NULL, __WALL), spawned.pid);
    rig_exited(&rig, job);
    assert_false(rig_comes(&rig, LINK_DONE, 0, 100));
    assert_int_equal(rig_stop(&rig), 0);
}

/* Deaf and with a full link: no ping gets through to it, and that counts as unanswered. */
static void test_deaf_behind_a_full_link(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t witness = rig_shell(&rig, "sleep 100", (struct link_spawn){0});
    rig_started(&rig, witness, NULL);
    for (unsigned i = 0; i < 2 * MANY; i++)
        rig_signal(&rig, 999, 0, LINK_SCOPE_LEADER);
    pid_t deaf = rig.agent;
    for (unsigned i = 0; i < 6000 && rig_alive(deaf); i++) /* 30 s */
        usleep(5000);
    assert_false(rig_alive(deaf));
    rig_next_agent(&rig, true);
    rig_expect(&rig, LINK_JOB, witness, NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

/* More refusals than a link holds unread: none is lost, and the agent lives. */
static void test_many_refusals(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    uint64_t job[2 * MANY];
    struct link_spawn order = {.store = {{.size = UINT64_C(1) << 40}}};
    for (unsigned i = 0; i < 2 * MANY; i++)
        job[i] = rig_shell(&rig, "", order);
    for (unsigned i = 0; i < 2 * MANY; i++)
        assert_int_equal(rig_expect(&rig, LINK_SPAWNED, job[i], NULL).spawned.err, EINVAL);
    uint64_t next = rig_shell(&rig, "exit 3", (struct link_spawn){0});
    rig_started(&rig, next, NULL);
    assert_int_equal(WEXITSTATUS(rig_exited(&rig, next).wait_status), 3);
    assert_int_equal(rig_stop(&rig), 0);
}

/* One that goes on ordering and never reads an answer is ended before these fill the memory: nobody
 * pings it, as long as nothing runs. */
static void test_deaf_and_never_silent(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    pid_t deaf = rig.agent;
    struct link_signal order = {.h = {LINK_SIGNAL, sizeof order}, .job = 999};
    for (unsigned i = 0; i < 100000; i++) {
        if (send(rig.link, &order, sizeof order, MSG_NOSIGNAL) < 0)
            break;
    }
    rig_until(!rig_alive(deaf));
    rig_next_agent(&rig, false);
    assert_int_equal(rig_done(&rig, rig_signal(&rig, 999, 0, LINK_SCOPE_LEADER)), ESRCH);
    assert_int_equal(rig_stop(&rig), 0);
}

/* A message of no bytes looks like the link's end, and may carry files. */
static void test_fds_without_bytes(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    unsigned before = count_fds(rig.supervisor);
    for (unsigned i = 0; i < 4; i++) {
        int fds[2] = {rig.door, rig.door};
        rig_send(&rig, "", 0, fds, 2);
        rig_next_agent(&rig, false);
    }
    rig_until(count_fds(rig.supervisor) == before); /* some are closed in threads */
    assert_int_equal(rig_stop(&rig), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_cut_short),
        cmocka_unit_test(test_block_becomes_drop),
        cmocka_unit_test(test_nobody_there_at_the_start),
        cmocka_unit_test(test_an_adopted_stream_waits),
        cmocka_unit_test(test_a_detached_stream_goes_on_at_once),
        cmocka_unit_test(test_last_orders),
        cmocka_unit_test(test_no_answer_for_the_one_before),
        cmocka_unit_test(test_deaf_behind_a_full_link),
        cmocka_unit_test(test_deaf_and_never_silent),
        cmocka_unit_test(test_many_refusals),
        cmocka_unit_test(test_fds_without_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
