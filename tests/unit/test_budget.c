/* What all output together may take: what gave way for others is counted until the agent has let go
 * of it, and then no more. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

#define TOTAL (UINT64_C(1) << 20)

static struct link_spawn kept_in(enum store_mode mode) {
    return (struct link_spawn){
        .store = {{.size = TOTAL, .mode = mode}, {.size = 4096, .mode = mode}}};
}

/* Writes that many bytes, and stays. */
static uint64_t writer(struct rig *rig, unsigned bytes, enum store_mode mode, const char *then) {
    char script[128];
    snprintf(script, sizeof script, "yes | head -c %u; %s", bytes, then);
    uint64_t job = rig_shell(rig, script, kept_in(mode));
    rig_started(rig, job, NULL);
    return job;
}

/* Waits until it has written them. */
static uint64_t holder(struct rig *rig, unsigned bytes, enum store_mode mode) {
    uint64_t job = writer(rig, bytes, mode, "exec sleep 100");
    const uint64_t none[2] = {0}, seen[2] = {bytes - 1, 0};
    rig_look(rig, job, none, seen, LINK_LOOK_ARM);
    rig_expect(rig, LINK_OUTPUT, job, NULL);
    return job;
}

static void end(struct rig *rig, uint64_t job) {
    assert_int_equal(rig_done(rig, rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE)), 0);
    rig_exited(rig, job);
}

/* Stores that moved, and that the agent still has mapped: answered all at once. */
static void let_go(struct rig *rig) {
    while (rig_comes(rig, LINK_STORE, 0, 100))
        rig_ref(rig, LINK_STORED, rig_expect(rig, LINK_STORE, 0, NULL).output.job);
}

/* A store that moved, and whose job exits before the agent has let go of it, is shed only then:
 * else what it had at first stays counted for ever. */
static void test_exits_before_it_is_let_go(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.output_total = TOTAL});
    uint64_t captured = holder(&rig, 530000, STORE_HEAD), ring = holder(&rig, 245000, STORE_DROP);
    uint64_t asks = writer(&rig, 500000, STORE_HEAD, "exit");
    assert_true(rig_comes(&rig, LINK_STORE, 0, 5000));
    end(&rig, ring);
    rig_exited(&rig, asks);
    end(&rig, captured);
    let_go(&rig);
    const uint64_t all[] = {captured, ring, asks};
    for (unsigned i = 0; i < 3; i++)
        rig_ref(&rig, LINK_FORGET, all[i]);

    int store;
    uint64_t from, written, job = rig_shell(&rig, "yes | head -c 900000", kept_in(STORE_HEAD));
    rig_started(&rig, job, &store);
    rig_exited(&rig, job);
    char *text = rig_output(store, 0, &from, &written);
    assert_int_equal(written, 900000);
    assert_int_equal(strlen(text), 900000);
    free(text);
    close(store);
    assert_int_equal(rig_stop(&rig), 0);
}

/* What moved is on its way out: who starts meanwhile isn't refused for it. */
static void test_starts_while_stores_move(void **state) {
    struct rig rig;
    rig_start(&rig, &(struct rig_options){.output_total = TOTAL});
    uint64_t large = holder(&rig, 900000, STORE_DROP);
    uint64_t other = writer(&rig, 500000, STORE_DROP, "exec sleep 100");
    assert_true(rig_comes(&rig, LINK_STORE, 0, 5000));
    uint64_t job = rig_shell(&rig, "echo here", kept_in(STORE_DROP));
    rig_started(&rig, job, NULL);
    assert_int_equal(rig_exited(&rig, job).wait_status, 0);
    let_go(&rig);
    end(&rig, large);
    end(&rig, other);
    assert_int_equal(rig_stop(&rig), 0);
}

/* More starts than there is memory for before the agent has let go of some. */
static void fill_and_wait(struct rig *rig, uint64_t job[40]) {
    rig_start(rig, &(struct rig_options){.output_total = TOTAL});
    for (unsigned i = 0; i < 10; i++)
        rig_exited(rig, writer(rig, 90000, STORE_HEAD, "exit"));
    for (unsigned i = 0; i < 40; i++)
        job[i] = rig_shell(rig, "exec sleep 100", kept_in(STORE_HEAD));
    assert_true(rig_comes(rig, LINK_STORE, 0, 5000));
}

/* Starts that wait do so as long as the agent lets go of one store after the other, however slow it
 * is; refused they are when it lets go of none. */
static void test_starts_wait_for_a_slow_agent(void **state) {
    struct rig rig;
    uint64_t job[40];
    fill_and_wait(&rig, job);
    while (rig_comes(&rig, LINK_STORE, 0, 700)) {
        usleep(250000); /* it is slow, well within what they wait */
        rig_ref(&rig, LINK_STORED, rig_expect(&rig, LINK_STORE, 0, NULL).output.job);
    }
    for (unsigned i = 0; i < 40; i++)
        rig_started(&rig, job[i], NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_starts_dont_wait_for_a_silent_agent(void **state) {
    struct rig rig;
    uint64_t job[40];
    int refused = 0;
    fill_and_wait(&rig, job);
    for (unsigned i = 0; i < 40; i++) {
        int err = rig_expect(&rig, LINK_SPAWNED, job[i], NULL).spawned.err;
        assert_true(err == 0 || err == ENOMEM);
        refused += err != 0;
    }
    assert_true(refused > 0);
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_starts_that_wait_outlive_the_agent(void **state) {
    struct rig rig;
    uint64_t job[40];
    fill_and_wait(&rig, job);
    kill(rig.agent, SIGKILL);
    rig_next_agent(&rig, true);
    for (unsigned i = 0; i < 40; i++)
        rig_inherited(&rig, job[i], NULL);
    assert_int_equal(rig_stop(&rig), 0);
}

static void test_power_off_while_starts_wait(void **state) {
    struct rig rig;
    uint64_t job[40];
    fill_and_wait(&rig, job);
    for (unsigned i = 0; i < 40; i++)
        rig_ref(&rig, LINK_CANCEL, job[i]);
    assert_int_equal(rig_stop(&rig), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exits_before_it_is_let_go),
        cmocka_unit_test(test_starts_while_stores_move),
        cmocka_unit_test(test_starts_wait_for_a_slow_agent),
        cmocka_unit_test(test_starts_dont_wait_for_a_silent_agent),
        cmocka_unit_test(test_starts_that_wait_outlive_the_agent),
        cmocka_unit_test(test_power_off_while_starts_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
