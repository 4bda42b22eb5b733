/* Frames: the four bytes of length, at every boundary. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"
#include "proto/limits.h"

static const uint8_t hello[] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0, 1, 'x'};
static const struct slice untouched = {(const uint8_t *)"u", 77};

static void header_says_the_length(void **state) {
    uint8_t out[FRAME_HEADER];

    frame_header(out, 0x01020304);
    assert_memory_equal(out, "\x01\x02\x03\x04", 4);
    frame_header(out, 0xffffffff);
    assert_memory_equal(out, "\xff\xff\xff\xff", 4);
    frame_header(out, 0);
    assert_memory_equal(out, "\0\0\0\0", 4);
}

static void every_cut_asks_for_what_is_missing(void **state) {
    for (size_t len = 0; len < 9; len++) {
        struct slice body = untouched;
        size_t need = 0;

        assert_int_equal(frame_pop(hello, len, 5, &body, &need), 0);
        assert_int_equal(need, len < FRAME_HEADER ? FRAME_HEADER : 9);
        assert_ptr_equal(body.data, untouched.data);
        assert_int_equal(body.len, untouched.len);
    }
}

static void a_whole_frame_is_borrowed(void **state) {
    struct slice body;
    size_t need = 0;

    assert_int_equal(frame_pop(hello, 9, 5, &body, &need), 1);
    assert_ptr_equal(body.data, hello + 4);
    assert_int_equal(body.len, 5);
}

static void what_follows_is_the_next_frame(void **state) {
    struct slice body;
    size_t need = 0;

    assert_int_equal(frame_pop(hello, sizeof(hello), 5, &body, &need), 1);
    assert_int_equal(body.len, 5);
    assert_int_equal(frame_pop(hello + 9, sizeof(hello) - 9, 5, &body, &need), 1);
    assert_ptr_equal(body.data, hello + 13);
    assert_int_equal(body.len, 1);
}

static void too_long_is_known_from_the_header_alone(void **state) {
    static const uint8_t most[] = {0xff, 0xff, 0xff, 0xff};
    struct slice body = untouched;
    size_t need = 77;

    assert_int_equal(frame_pop(hello, 9, 4, &body, &need), -EMSGSIZE);
    assert_int_equal(frame_pop(hello, FRAME_HEADER, 4, &body, &need), -EMSGSIZE);
    assert_int_equal(frame_pop(most, 4, (1 << 20) + (64 << 10), &body, &need), -EMSGSIZE);
    assert_ptr_equal(body.data, untouched.data);
    assert_int_equal(need, 77);
}

static void max_frame_counts_the_body(void **state) {
    uint8_t header[FRAME_HEADER];
    const uint32_t max = (1 << 20) + (64 << 10);
    struct slice body;
    size_t need;

    frame_header(header, max);
    assert_int_equal(frame_pop(header, FRAME_HEADER, max, &body, &need), 0);
    assert_int_equal(need, FRAME_HEADER + max);
    frame_header(header, max + 1);
    assert_int_equal(frame_pop(header, FRAME_HEADER, max, &body, &need), -EMSGSIZE);
}

static void the_largest_length_does_not_wrap(void **state) {
    static const uint8_t most[] = {0xff, 0xff, 0xff, 0xff};
    struct slice body;
    size_t need;

    assert_int_equal(frame_pop(most, 4, UINT32_MAX, &body, &need), 0);
    assert_true(need == (size_t)UINT32_MAX + FRAME_HEADER);
}

static void an_empty_body_is_a_frame(void **state) {
    static const uint8_t empty[] = {0, 0, 0, 0};
    struct slice body = untouched;
    size_t need;

    assert_int_equal(frame_pop(empty, 4, 100, &body, &need), 1);
    assert_non_null(body.data);
    assert_int_equal(body.len, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_says_the_length),
        cmocka_unit_test(every_cut_asks_for_what_is_missing),
        cmocka_unit_test(a_whole_frame_is_borrowed),
        cmocka_unit_test(what_follows_is_the_next_frame),
        cmocka_unit_test(too_long_is_known_from_the_header_alone),
        cmocka_unit_test(max_frame_counts_the_body),
        cmocka_unit_test(the_largest_length_does_not_wrap),
        cmocka_unit_test(an_empty_body_is_a_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
