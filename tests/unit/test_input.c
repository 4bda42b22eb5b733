/* Open stdin: bytes on their way into programs that read, read slowly, never, or no more. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

#define MIB (1u << 20)
#define PIPE (64u << 10)

static int start(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){.stdin_buffer = MIB, .stdin_total = 3 * MIB});
    *state = &rig;
    return 0;
}

static int start_forking(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {"GUESTD_NO_CLONE3=1"},
                                          .stdin_buffer = MIB,
                                          .stdin_total = 3 * MIB});
    *state = &rig;
    return 0;
}

static int stop(void **state) {
    return rig_stop(*state);
}

static uint64_t spawn(struct rig *rig, const char *script, int *ret_store) {
    uint64_t job = rig_shell(
        rig, script, (struct link_spawn){.flags = LINK_SPAWN_STDIN_OPEN, .store[0].size = 4 * MIB});
    rig_started(rig, job, ret_store);
    return job;
}

/* Bytes of a known pattern: byte i is as its offset says. */
static void send_input(struct rig *rig, uint64_t job, uint64_t off, uint32_t len, uint32_t flags) {
    static struct {
        struct link_input head;
        uint8_t bytes[LINK_INPUT_MAX];
    } order;
    order.head = (struct link_input){.job = job, .off = off, .flags = flags, .len = len};
    order.head.h = (struct link_header){LINK_INPUT, (uint32_t)sizeof order.head + len};
    for (uint32_t i = 0; i < len; i++)
        order.bytes[i] = (uint8_t)('a' + (off + i) % 23);
    rig_send(rig, &order, order.head.h.size, NULL, 0);
}

static void type(struct rig *rig, uint64_t job, uint64_t off, const char *text, uint32_t flags) {
    struct {
        struct link_input head;
        char bytes[64];
    } order = {.head = {.job = job, .off = off, .flags = flags, .len = (uint32_t)strlen(text)}};
    order.head.h = (struct link_header){LINK_INPUT, (uint32_t)sizeof order.head + order.head.len};
    memcpy(order.bytes, text, order.head.len);
    rig_send(rig, &order, order.head.h.size, NULL, 0);
}

static struct link_taken hear(struct rig *rig, uint64_t job) {
    return rig_expect(rig, LINK_TAKEN, job, NULL).taken;
}

/* What is told comes in any number of pieces, and is told again and again. */
static struct link_taken hear_written(struct rig *rig, uint64_t job, uint64_t written) {
    struct link_taken taken = hear(rig, job);
    while (taken.written < written)
        taken = hear(rig, job);
    assert_int_equal(taken.written, written);
    return taken;
}

static struct link_taken hear_closed(struct rig *rig, uint64_t job) {
    struct link_taken taken = hear(rig, job);
    while (!taken.closed)
        taken = hear(rig, job);
    return taken;
}

static void check_output(struct rig *rig, uint64_t job, int store, const char *expected) {
    assert_int_equal(rig_exited(rig, job).wait_status, 0);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, expected);
    free(text);
    close(store);
}

static void check_pattern(struct rig *rig, uint64_t job, int store, uint64_t len) {
    assert_int_equal(rig_exited(rig, job).wait_status, 0);
    uint64_t end;
    char *text = rig_output(store, 0, NULL, &end);
    assert_int_equal(end, len);
    for (uint64_t i = 0; i < len; i++)
        assert_int_equal(text[i], 'a' + i % 23);
    free(text);
    close(store);
}

static void test_bytes_and_the_end(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "exec cat", &store);
    type(rig, job, 0, "one ", 0);
    struct link_taken taken = hear(rig, job);
    assert_int_equal(taken.taken, 4);
    assert_int_equal(taken.written, 4);
    assert_int_equal(taken.ends + taken.closed + (uint32_t)taken.err, 0);
    type(rig, job, 4, "two", LINK_INPUT_CLOSE);
    taken = hear_closed(rig, job);
    assert_int_equal(taken.taken, 7);
    assert_int_equal(taken.ends, 1);
    check_output(rig, job, store, "one two");
}

static void test_repeats_are_skipped(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "exec cat", &store);
    type(rig, job, 0, "abcdef", 0);
    type(rig, job, 0, "abc", 0);
    type(rig, job, 6, "", 0);
    type(rig, job, 3, "defghi", 0);
    type(rig, job, 9, "", LINK_INPUT_CLOSE);
    type(rig, job, 0, "abc", 0);
    assert_int_equal(hear_closed(rig, job).taken, 9);
    check_output(rig, job, store, "abcdefghi");
}

/* An agent that leaves bytes out is ended; its jobs and what they have to read are not. */
static void test_a_hole_is_the_agents_end(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "sleep 0.3; exec cat", &store);
    send_input(rig, job, 0, LINK_INPUT_MAX, 0);
    send_input(rig, job, LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
    type(rig, job, 2 * LINK_INPUT_MAX + 1, "x", 0);
    rig_next_agent(rig, true);
    struct link_job again = rig_expect(rig, LINK_JOB, job, NULL).job;
    assert_int_equal(again.flags & LINK_SPAWN_STDIN_OPEN, LINK_SPAWN_STDIN_OPEN);
    assert_int_equal(hear(rig, job).taken, 2 * LINK_INPUT_MAX);
    rig_expect(rig, LINK_JOBS_END, 0, NULL);
    send_input(rig, job, LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
    send_input(rig, job, 2 * LINK_INPUT_MAX, 1000, LINK_INPUT_CLOSE);
    check_pattern(rig, job, store, 2 * LINK_INPUT_MAX + 1000);
}

/* Sizes that lie, and what is none of its business. */
static void test_what_is_no_input_is_the_agents_end(void **state) {
    struct rig *rig = *state;
    struct link_input order = {.len = 1};
    order.h = (struct link_header){LINK_INPUT, sizeof order};
    rig_send(rig, &order, sizeof order, NULL, 0);
    rig_next_agent(rig, false);
    struct {
        struct link_input head;
        uint8_t bytes[LINK_INPUT_MAX + 1];
    } *large = calloc(1, sizeof *large);
    large->head.len = LINK_INPUT_MAX + 1;
    large->head.h = (struct link_header){LINK_INPUT, sizeof large->head + large->head.len};
    rig_send(rig, large, large->head.h.size, NULL, 0);
    free(large);
    rig_next_agent(rig, false);
    /* No such job, or one without: it may have ended on the way. */
    uint64_t job = rig_shell(rig, "cat", (struct link_spawn){0});
    rig_started(rig, job, NULL);
    type(rig, job, 5, "x", LINK_INPUT_CLOSE);
    type(rig, 12345, 5, "x", LINK_INPUT_CLOSE);
    rig_exited(rig, job);
    assert_false(rig_comes(rig, LINK_TAKEN, 0, 100));
    type(rig, job, 5, "x", LINK_INPUT_CLOSE);
    uint64_t next = rig_shell(rig, "", (struct link_spawn){0});
    rig_started(rig, next, NULL);
    rig_exited(rig, next);
}

/* Sends until it is refused; returns how much was taken. */
static uint64_t fill(struct rig *rig, uint64_t job) {
    uint64_t off = 0;
    for (;;) {
        send_input(rig, job, off, LINK_INPUT_MAX, 0);
        struct link_taken taken = hear(rig, job);
        if (taken.err == 0 && taken.taken == off) /* of the pipe alone */
            continue;
        if (taken.err != 0) {
            assert_int_equal(taken.err, ENOMEM);
            return taken.taken;
        }
        off = taken.taken;
    }
}

static void test_one_that_never_reads_is_bounded(void **state) {
    struct rig *rig = *state;
    uint64_t job = spawn(rig, "exec sleep 1000", NULL);
    uint64_t taken = fill(rig, job);
    assert_in_range(taken, MIB, MIB + PIPE);
    /* What follows a refused one is void, however much of it was on its way. */
    for (unsigned i = 1; i < 20; i++)
        send_input(rig, job, taken + i * LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
    assert_false(rig_comes(rig, LINK_TAKEN, job, 100));
    /* The bound is of all of a message, and what was there needs no room. */
    send_input(rig, job, 0, LINK_INPUT_MAX, 0);
    assert_int_equal(hear(rig, job).err, 0);
    send_input(rig, job, taken, 1, 0);
    struct link_taken told = hear(rig, job);
    if (told.err == 0)
        assert_int_equal(told.taken, taken + 1);
    rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
    rig_exited(rig, job);
}

static void test_all_together_are_bounded(void **state) {
    struct rig *rig = *state;
    uint64_t job[4], taken = 0;
    for (unsigned i = 0; i < 4; i++) {
        job[i] = spawn(rig, "exec sleep 1000", NULL);
        taken += fill(rig, job[i]);
    }
    assert_in_range(taken, 2 * MIB, 3 * MIB + 4 * PIPE);
    /* Room that one leaves is another's. */
    rig_signal(rig, job[0], SIGKILL, LINK_SCOPE_TREE);
    rig_exited(rig, job[0]);
    int store;
    job[0] = spawn(rig, "sleep 0.2; exec cat", &store);
    for (unsigned i = 0; i < 8; i++)
        send_input(rig, job[0], i * LINK_INPUT_MAX, LINK_INPUT_MAX, i == 7 ? LINK_INPUT_CLOSE : 0);
    check_pattern(rig, job[0], store, 8 * LINK_INPUT_MAX);
}

/* Refused, then read, then sent again from where it was refused. */
static void test_a_refused_one_goes_on(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "head -c 1000000; exec cat", &store);
    uint64_t off = 0, end = 3 * MIB;
    while (off < end) {
        uint32_t len = end - off < LINK_INPUT_MAX ? (uint32_t)(end - off) : LINK_INPUT_MAX;
        send_input(rig, job, off, len, 0);
        off = hear(rig, job).taken;
    }
    send_input(rig, job, end, 0, LINK_INPUT_CLOSE);
    check_pattern(rig, job, store, end);
}

static void test_who_reads_no_more_closes_it(void **state) {
    struct rig *rig = *state;
    uint64_t job = spawn(rig, "exec 0<&-; echo; exec sleep 1000", NULL);
    uint64_t off = 0;
    struct link_taken taken = {0};
    while (!taken.closed) {
        type(rig, job, off, "x", 0);
        taken = hear(rig, job);
        off = taken.taken;
    }
    /* Whatever the agent sends meanwhile. */
    type(rig, job, off + 100, "x", 0);
    taken = hear(rig, job);
    assert_int_equal(taken.taken, off);
    assert_int_equal(taken.closed, 1);
    /* The signal of it reaches nobody. */
    int store;
    uint64_t next = rig_shell(rig,
                              "grep -E 'SigPnd|SigBlk|SigIgn' /proc/self/status | cut -f2 | "
                              "sort -u; grep -E 'SigPnd|ShdPnd' /proc/$PPID/status | cut -f2",
                              (struct link_spawn){0});
    rig_started(rig, next, &store);
    check_output(rig, next, store, "0000000000000000\n0000000000000000\n0000000000000000\n");
    rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
    rig_exited(rig, job);
}

/* The end waits behind the bytes, and both behind the program. */
static void test_the_end_comes_behind_the_bytes(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "sleep 0.3; exec cat", &store);
    for (unsigned i = 0; i < 4; i++)
        send_input(rig, job, i * LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
    send_input(rig, job, 4 * LINK_INPUT_MAX, 0, LINK_INPUT_CLOSE);
    struct link_taken taken = hear(rig, job);
    while (taken.ends == 0)
        taken = hear(rig, job);
    assert_int_equal(taken.closed, 0);
    check_pattern(rig, job, store, 4 * LINK_INPUT_MAX);
    assert_int_equal(hear_closed(rig, job).written, 4 * LINK_INPUT_MAX);
}

static long size_of(const char *path) {
    struct stat stat;
    return lstat(path, &stat) == 0 ? (long)stat.st_size : -1;
}

/* A descendant gets what is left, and the end: nobody can say more to an exited job. */
static void test_what_outlives_the_leader(void **state) {
    struct rig *rig = *state;
    char folder[] = "/tmp/guestd-test-XXXXXX", script[256], path[64];
    assert_non_null(mkdtemp(folder));
    snprintf(script, sizeof script,
             "cd %s; exec 3<&0; (until [ -e gone ]; do sleep 0.01; done; cat <&3 >part; "
             "mv part all) >&- 2>&- & until [ -e go ]; do sleep 0.01; done",
             folder);
    uint64_t job = spawn(rig, script, NULL);
    for (unsigned i = 0; i < 3; i++)
        send_input(rig, job, i * LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
    struct link_taken taken = hear(rig, job);
    while (taken.taken < 3 * LINK_INPUT_MAX)
        taken = hear(rig, job);
    snprintf(path, sizeof path, "%s/go", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    rig_exited(rig, job);
    snprintf(path, sizeof path, "%s/gone", folder);
    close(open(path, O_CREAT | O_WRONLY, 0600));
    snprintf(path, sizeof path, "%s/all", folder);
    rig_until(size_of(path) == 3 * LINK_INPUT_MAX);
    snprintf(script, sizeof script, "rm -r %s", folder);
    assert_int_equal(system(script), 0);
}

static unsigned count_fds(pid_t pid) {
    char command[64];
    snprintf(command, sizeof command, "ls /proc/%d/fd | wc -l", (int)pid);
    FILE *pipe = popen(command, "r");
    unsigned count = 0;
    assert_int_equal(fscanf(pipe, "%u", &count), 1);
    pclose(pipe);
    return count;
}

static void test_nothing_stays(void **state) {
    struct rig *rig = *state;
    unsigned before = count_fds(rig->supervisor);
    for (unsigned i = 0; i < 50; i++) {
        uint64_t job = spawn(rig, i % 2 ? "exec head -c 1" : "exec sleep 1000", NULL);
        for (unsigned k = 0; k < 4; k++)
            send_input(rig, job, k * LINK_INPUT_MAX, LINK_INPUT_MAX, 0);
        if (i % 2 == 0)
            rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
        rig_exited(rig, job);
        rig_ref(rig, LINK_FORGET, job);
    }
    rig_until(count_fds(rig->supervisor) == before);
    /* Nor is memory held for them: all of it can be had again. */
    uint64_t job[2], taken = 0;
    for (unsigned i = 0; i < 2; i++) {
        job[i] = spawn(rig, "exec sleep 1000", NULL);
        taken += fill(rig, job[i]);
    }
    assert_true(taken >= 2 * MIB);
}

static uint64_t terminal(struct rig *rig, const char *script, int *ret_store) {
    uint64_t job = rig_shell(rig, script,
                             (struct link_spawn){.flags = LINK_SPAWN_PTY, .rows = 24, .cols = 80});
    rig_started(rig, job, ret_store);
    return job;
}

static bool output_is(int store, const char *expected) {
    char *text = rig_output(store, 0, NULL, NULL);
    bool is = strcmp(text, expected) == 0;
    free(text);
    return is;
}

/* VEOF, as it is set; behind an unfinished line it is typed twice, for one only ends the line. */
static void test_the_end_of_a_terminal(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = terminal(
        rig, "stty -echo; echo 1; cat; echo 2; cat; stty eof x; echo 3; cat; echo 4", &store);
    rig_until(output_is(store, "1\r\n"));
    type(rig, job, 0, "a\n", LINK_INPUT_CLOSE);
    assert_int_equal(hear_written(rig, job, 2).ends, 1);
    rig_until(output_is(store, "1\r\na\r\n2\r\n"));
    type(rig, job, 2, "b", LINK_INPUT_CLOSE);
    struct link_taken taken = hear_written(rig, job, 3);
    assert_int_equal(taken.ends, 2);
    assert_int_equal(taken.closed, 0);
    rig_until(output_is(store, "1\r\na\r\n2\r\nb3\r\n"));
    type(rig, job, 3, "", LINK_INPUT_CLOSE);
    check_output(rig, job, store, "1\r\na\r\n2\r\nb3\r\n4\r\n");
    assert_int_equal(hear_closed(rig, job).ends, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_bytes_and_the_end, start, stop),
        cmocka_unit_test_setup_teardown(test_bytes_and_the_end, start_forking, stop),
        cmocka_unit_test_setup_teardown(test_repeats_are_skipped, start, stop),
        cmocka_unit_test_setup_teardown(test_a_hole_is_the_agents_end, start, stop),
        cmocka_unit_test_setup_teardown(test_what_is_no_input_is_the_agents_end, start, stop),
        cmocka_unit_test_setup_teardown(test_one_that_never_reads_is_bounded, start, stop),
        cmocka_unit_test_setup_teardown(test_all_together_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(test_a_refused_one_goes_on, start, stop),
        cmocka_unit_test_setup_teardown(test_who_reads_no_more_closes_it, start, stop),
        cmocka_unit_test_setup_teardown(test_the_end_comes_behind_the_bytes, start, stop),
        cmocka_unit_test_setup_teardown(test_what_outlives_the_leader, start, stop),
        cmocka_unit_test_setup_teardown(test_nothing_stays, start, stop),
        cmocka_unit_test_setup_teardown(test_the_end_of_a_terminal, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
