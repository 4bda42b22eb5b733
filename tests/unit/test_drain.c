/* Output on its way into the store: floods, slow readers, doorbells, and pipes that others hold. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

static int start(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    *state = &rig;
    return 0;
}

static int stop(void **state) {
    return rig_stop(*state);
}

static const struct store_head *map(int store, uint64_t size) {
    void *head = mmap(NULL, size, PROT_READ, MAP_SHARED, store, 0);
    assert_ptr_not_equal(head, MAP_FAILED);
    return head;
}

static void test_flood_is_counted_whole(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 100000, .mode = STORE_HEAD}};
    uint64_t job = rig_shell(rig, "head -c 100000000 /dev/zero | tr '\\0' x", order);
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    uint64_t end;
    char *text = rig_output(store, 0, NULL, &end);
    assert_int_equal(end, 100000000);
    assert_int_equal(strlen(text), 100000);
    free(text);
    close(store);
}

static void test_tail(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 1000, .mode = STORE_DROP}};
    uint64_t job = rig_shell(rig, "seq 1 200000", order);
    rig_started(rig, job, &store);
    rig_exited(rig, job);
    uint64_t from, end;
    char *text = rig_output(store, 0, &from, &end);
    assert_int_equal(strlen(text), 1000);
    assert_int_equal(end, 1288895);
    assert_int_equal(from, end - 1000);
    assert_string_equal(text + 1000 - 14, "199999\n200000\n");
    free(text);
    close(store);
}

/* Reads a BLOCK job as the agent does: takes what is there, acknowledges, and asks to be rung. */
static uint64_t follow(struct rig *rig, uint64_t job, const struct store_head *head, uint64_t until,
                       uint64_t *ret_sum) {
    const struct store_ring *ring = &head->ring[0];
    uint64_t seen[2] = {0, 0};
    for (;;) {
        uint64_t end = atomic_load(&ring->end);
        bool eof = atomic_load(&ring->eof) != 0;
        end = atomic_load(&ring->end);
        assert_true(end - seen[0] <= ring->size);
        for (; seen[0] < end; seen[0]++)
            *ret_sum += ((const unsigned char *)head)[ring->at + seen[0] % ring->size];
        if (eof || end >= until)
            return end;
        rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
        rig_expect(rig, LINK_OUTPUT, job, NULL);
    }
}

static void test_block_loses_nothing(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 300000, .mode = STORE_BLOCK}};
    uint64_t job = rig_shell(rig, "head -c 30000000 /dev/zero | tr '\\0' '\\1'", order);
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, 400000);
    uint64_t sum = 0;
    assert_int_equal(follow(rig, job, head, UINT64_MAX, &sum), 30000000);
    assert_int_equal(sum, 30000000);
    rig_exited(rig, job);
    munmap((void *)(uintptr_t)head, 400000);
    close(store);
}

/* A reader that stops makes the program wait; one that goes lets it run. */
static void test_block_waits_and_detach_lets_go(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 5000, .mode = STORE_BLOCK}};
    uint64_t job = rig_shell(rig, "head -c 3000000 /dev/zero", order);
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, STORE_PAGE + 5000);
    rig_until(atomic_load(&head->ring[0].end) == 5000);
    assert_false(rig_comes(rig, LINK_EXITED, job, 300));
    assert_int_equal(atomic_load(&head->ring[0].end), 5000);
    rig_ref(rig, LINK_DETACH, job);
    rig_exited(rig, job);
    assert_int_equal(atomic_load(&head->ring[0].end), 3000000);
    assert_int_equal(atomic_load(&head->ring[0].oldest), 3000000 - 5000);
    assert_int_equal(atomic_load(&head->ring[0].mode), STORE_DROP);
    munmap((void *)(uintptr_t)head, STORE_PAGE + 5000);
    close(store);
}

/* What lies in a full pipe at the exit is waited for, for as long as the reader takes. */
static void test_block_exit_waits_for_the_reader(void **state) {
    struct rig *rig = *state;
    int store;
    struct link_spawn order = {.store[0] = {.size = 5000, .mode = STORE_BLOCK}};
    uint64_t job = rig_shell(rig, "head -c 20000 /dev/zero", order);
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, STORE_PAGE + 5000);
    rig_until(atomic_load(&head->ring[0].end) == 5000);
    assert_false(rig_comes(rig, LINK_EXITED, job, 500));
    uint64_t sum = 0;
    assert_int_equal(follow(rig, job, head, 20000, &sum), 20000);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_EXITED);
    assert_int_equal(result.pipes_open, 0);
    munmap((void *)(uintptr_t)head, STORE_PAGE + 5000);
    close(store);
}

static void test_doorbell(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job =
        rig_shell(rig, "printf abc; sleep 0.2; printf d >&2; sleep 0.2; exec >&- 2>&-; sleep 100",
                  (struct link_spawn){0});
    rig_started(rig, job, &store);
    uint64_t seen[2] = {0, 0};
    assert_false(rig_comes(rig, LINK_OUTPUT, job, 100)); /* not asked for */
    rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
    rig_expect(rig, LINK_OUTPUT, job, NULL); /* at once: it is there */
    seen[0] = 3;
    rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
    rig_expect(rig, LINK_OUTPUT, job, NULL); /* for stderr */
    char *text = rig_output(store, 1, NULL, NULL);
    assert_string_equal(text, "d");
    free(text);
    seen[1] = 1;
    rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
    rig_expect(rig, LINK_OUTPUT, job, NULL); /* for the end of one */
    rig_look(rig, job, seen, seen, LINK_LOOK_ARM | LINK_LOOK_EOF_SEEN_0);
    rig_expect(rig, LINK_OUTPUT, job, NULL); /* for the end of the other */
    rig_look(rig, job, seen, seen, LINK_LOOK_ARM | LINK_LOOK_EOF_SEEN_0 | LINK_LOOK_EOF_SEEN_1);
    assert_false(rig_comes(rig, LINK_OUTPUT, job, 100));
    rig_signal(rig, job, SIGKILL, LINK_SCOPE_TREE);
    rig_exited(rig, job);
    close(store);
}

/* The answer waits 200 ms for a pipe that somebody holds, no more; and the holder may write on for
 * ever. */
static void test_held_pipe(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job =
        rig_shell(rig, "(sleep 3; echo late; sleep 0.1; echo later) & echo early; exit 0",
                  (struct link_spawn){0});
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.pipes_open, 1);
    assert_in_range(result.descendants, 1, 2);
    assert_true(result.duration_ms < 2500);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "early\n");
    free(text);
    const struct store_head *head = map(store, 4096);
    rig_until(atomic_load(&head->ring[0].eof) == 1);
    text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "early\nlate\nlater\n");
    free(text);
    munmap((void *)(uintptr_t)head, 4096);
    close(store);
}

/* What a program wrote last is read, whoever was faster. */
static void test_last_words(void **state) {
    struct rig *rig = *state;
    for (int i = 0; i < 100; i++) {
        int store;
        uint64_t job = rig_shell(rig, "head -c 60000 /dev/zero; printf end >&2; kill -KILL $$",
                                 (struct link_spawn){0});
        rig_started(rig, job, &store);
        rig_exited(rig, job);
        uint64_t end;
        free(rig_output(store, 0, NULL, &end));
        assert_int_equal(end, 60000);
        char *text = rig_output(store, 1, NULL, NULL);
        assert_string_equal(text, "end");
        free(text);
        close(store);
        rig_ref(rig, LINK_FORGET, job);
    }
}

/* One job's flood doesn't keep another's few bytes waiting. */
static void test_fair(void **state) {
    struct rig *rig = *state;
    struct link_spawn order = {.store[0] = {.size = 1 << 20, .mode = STORE_DROP}};
    uint64_t flood[4];
    for (int i = 0; i < 4; i++) {
        flood[i] = rig_shell(rig, "exec yes", order);
        rig_started(rig, flood[i], NULL);
    }
    for (int i = 0; i < 10; i++) {
        uint64_t job = rig_shell(rig, "echo x", (struct link_spawn){0});
        rig_started(rig, job, NULL);
        assert_true(rig_exited(rig, job).duration_ms < 2000);
    }
    for (int i = 0; i < 4; i++) {
        rig_signal(rig, flood[i], SIGKILL, LINK_SCOPE_TREE);
        assert_int_equal(rig_exited(rig, flood[i]).reason, LINK_REASON_KILLED);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flood_is_counted_whole, start, stop),
        cmocka_unit_test_setup_teardown(test_tail, start, stop),
        cmocka_unit_test_setup_teardown(test_block_loses_nothing, start, stop),
        cmocka_unit_test_setup_teardown(test_block_waits_and_detach_lets_go, start, stop),
        cmocka_unit_test_setup_teardown(test_block_exit_waits_for_the_reader, start, stop),
        cmocka_unit_test_setup_teardown(test_doorbell, start, stop),
        cmocka_unit_test_setup_teardown(test_held_pipe, start, stop),
        cmocka_unit_test_setup_teardown(test_last_words, start, stop),
        cmocka_unit_test_setup_teardown(test_fair, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
