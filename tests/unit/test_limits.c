/* The limits that are told: every name and number of PROTOCOL.md, in the table's order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"

struct row {
    const char *name;
    uint64_t value;
};

static const struct row table[] = {
#define X(name, value, help) {#name, value},
    LIMITS(X)
#undef X
};

static const struct row expected[] = {
    {"connections", 64},
    {"requests", 256},
    {"processes", 4096},
    {"max_frame", 1114112},
    {"nesting", 16},
    {"queue_connection", 8388608},
    {"queue_total", 67108864},
    {"stdin_buffer", 1048576},
    {"stream_credit", 262144},
    {"max_output", 67108864},
    {"output_total", 268435456},
    {"retained", 1024},
    {"retained_s", 600},
    {"watches", 64},
    {"list_batch", 1024},
    {"stall_s", 60},
    {"ping_ms", 250},
};

static void names_and_defaults(void **state) {
    assert_int_equal(LIMIT_COUNT, sizeof(expected) / sizeof(expected[0]));
    for (size_t i = 0; i < LIMIT_COUNT; i++) {
        assert_string_equal(table[i].name, expected[i].name);
        assert_true(table[i].value == expected[i].value);
    }
}

static void the_index_is_the_row(void **state) {
    assert_string_equal(table[LIMIT_max_frame].name, "max_frame");
    assert_string_equal(table[LIMIT_ping_ms].name, "ping_ms");
}

static void what_is_fixed(void **state) {
    assert_int_equal(DEFAULT_WINDOW, 1048576);
    assert_true(MAX_WINDOW == UINT64_C(2147483648));
    assert_int_equal(DEFAULT_CLIENT_FRAME, 67108864);
    assert_int_equal(MAX_OBJECTS, 262144);
    assert_int_equal(MAX_UNAUTHENTICATED, 8);
    assert_int_equal(HELLO_TIMEOUT_MS, 10000);
    assert_int_equal(PROTOCOL_VERSION, 1);
    assert_int_equal(DEFAULT_PORT, 1024);
}

/* A chunk of data of the largest credit, with its names and numbers around it, fits one frame. */
static void a_whole_read_fits_a_frame(void **state) {
    assert_true(table[LIMIT_max_frame].value >= (1 << 20) + 1024);
    assert_true(table[LIMIT_stream_credit].value < table[LIMIT_max_frame].value);
    assert_true(table[LIMIT_max_frame].value < table[LIMIT_queue_connection].value);
    assert_true(table[LIMIT_queue_connection].value < table[LIMIT_queue_total].value);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_and_defaults),
        cmocka_unit_test(the_index_is_the_row),
        cmocka_unit_test(what_is_fixed),
        cmocka_unit_test(a_whole_read_fits_a_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
