/* The heap of deadlines against a plain array that does the same slowly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "supervisor/deadline.h"

enum { MANY = 500 };

static struct deadline all[MANY];
static int64_t due[MANY]; /* −1: not armed */
static int fired[MANY];

static void on_fire(struct deadline *deadline) {
    long i = deadline - all;
    assert_false(deadline->armed);
    assert_true(due[i] >= 0);
    due[i] = -1;
    fired[i]++;
}

static int64_t earliest(void) {
    int64_t first = INT64_MAX;
    for (int i = 0; i < MANY; i++) {
        if (due[i] >= 0 && due[i] < first)
            first = due[i];
    }
    return first;
}

static void test_against_an_array(void **state) {
    struct deadlines heap = {0};
    srandom(7);
    for (int i = 0; i < MANY; i++) {
        all[i] = (struct deadline){.fire = on_fire};
        due[i] = -1;
    }
    int64_t now = 0;
    for (int step = 0; step < 20000; step++) {
        int i = (int)(random() % MANY);
        switch (random() % 4) {
        case 0:
            deadline_cancel(&heap, &all[i]);
            due[i] = -1;
            break;
        case 1:
            now += random() % 50;
            deadlines_fire(&heap, now);
            for (int j = 0; j < MANY; j++)
                assert_false(due[j] >= 0 && due[j] <= now);
            break;
        default:
            due[i] = now + 1 + random() % 1000;
            deadline_arm(&heap, &all[i], due[i]);
            break;
        }
        assert_int_equal(deadlines_next(&heap), earliest());
    }
}

static void test_order(void **state) {
    struct deadlines heap = {0};
    struct deadline a = {.fire = on_fire}, b = {.fire = on_fire};
    assert_int_equal(deadlines_next(&heap), INT64_MAX);
    deadline_arm(&heap, &a, 20);
    deadline_arm(&heap, &b, 10);
    assert_int_equal(deadlines_next(&heap), 10);
    deadline_arm(&heap, &b, 30); /* moved */
    assert_int_equal(deadlines_next(&heap), 20);
    deadline_cancel(&heap, &a);
    deadline_cancel(&heap, &a);
    assert_int_equal(deadlines_next(&heap), 30);
}

/* A machine that stood still: what was armed moves, what is armed afterwards doesn't. */
static void test_shift(void **state) {
    struct deadlines heap = {0};
    for (int i = 0; i < 2; i++) {
        all[i] = (struct deadline){.fire = on_fire};
        fired[i] = 0;
    }
    due[0] = due[1] = 0;
    deadline_arm(&heap, &all[0], 100);
    deadlines_shift(&heap, 1000);
    deadline_arm(&heap, &all[1], 1050);
    assert_int_equal(deadlines_next(&heap), 1050);
    deadlines_fire(&heap, 1099);
    assert_int_equal(fired[0], 0);
    assert_int_equal(fired[1], 1);
    deadlines_fire(&heap, 1100);
    assert_int_equal(fired[0], 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_against_an_array),
        cmocka_unit_test(test_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
