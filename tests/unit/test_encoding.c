/* What captured output becomes in a result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/encoding.h"
#include "proto/message.h"

static struct captured of(const char *bytes, size_t len) {
    return (struct captured){.data = (const uint8_t *)bytes, .len = len};
}

/* Packs and unpacks; the text or bytes as the client sees them. */
static void check(enum encoding encoding, const char *bytes, size_t len, const char *want,
                  size_t want_len) {
    struct slice slice = {(const uint8_t *)bytes, len};
    msgpack_unpacked result;
    msgpack_sbuffer out;
    msgpack_packer pk;

    msgpack_sbuffer_init(&out);
    msgpack_packer_init(&pk, &out, msgpack_sbuffer_write);
    encoding_pack(&pk, encoding, slice);
    assert_int_equal(message_check((struct slice){(uint8_t *)out.data, out.size}, 1), 0);
    msgpack_unpacked_init(&result);
    assert_int_equal(msgpack_unpack_next(&result, out.data, out.size, NULL),
                     MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(result.data.type,
                     encoding == ENCODING_RAW ? MSGPACK_OBJECT_BIN : MSGPACK_OBJECT_STR);
    assert_int_equal(result.data.via.str.size, want_len);
    assert_memory_equal(result.data.via.str.ptr, want, want_len);
    assert_int_equal(encoding_size(encoding, slice), want_len);
    msgpack_unpacked_destroy(&result);
    msgpack_sbuffer_destroy(&out);
}

static void auto_is_text_for_text(void **state) {
    struct captured stream[2] = {of("h\xc3\xa9llo", 6), of("", 0)};

    assert_int_equal(encoding_decide(ENCODING_AUTO, stream), ENCODING_UTF8);
    assert_int_equal(stream[0].len, 6);
}

static void auto_is_base64_for_both_when_one_is_not_text(void **state) {
    struct captured stream[2] = {of("fine", 4), of("\xff", 1)};

    assert_int_equal(encoding_decide(ENCODING_AUTO, stream), ENCODING_BASE64);
    stream[0] = of("\xc3", 1);
    stream[1] = of("", 0);
    /* a sequence that the program itself left unfinished is no cut */
    assert_int_equal(encoding_decide(ENCODING_AUTO, stream), ENCODING_BASE64);
}

static void a_cut_sequence_is_dropped_before_deciding(void **state) {
    struct captured stream[2] = {of("ab\xe2\x82", 4), of("\x82\xac"
                                                         "cd",
                                                         4)};

    stream[0].cut_after = true;
    stream[1].cut_before = true;
    assert_int_equal(encoding_decide(ENCODING_AUTO, stream), ENCODING_UTF8);
    assert_int_equal(stream[0].len, 2);
    assert_int_equal(stream[1].len, 2);
    assert_memory_equal(stream[1].data, "cd", 2);
}

static void a_cut_binary_keeps_every_byte(void **state) {
    struct captured stream[2] = {of("\xff\xe2\x82", 3), of("", 0)};

    stream[0].cut_after = true;
    assert_int_equal(encoding_decide(ENCODING_AUTO, stream), ENCODING_BASE64);
    assert_int_equal(stream[0].len, 3);
    assert_int_equal(encoding_decide(ENCODING_RAW, stream), ENCODING_RAW);
    assert_int_equal(stream[0].len, 3);
}

#define BAD "\xef\xbf\xbd"

static void bad_bytes_are_replaced_by_maximal_parts(void **state) {
    check(ENCODING_UTF8,
          "a\xff"
          "b",
          3, "a" BAD "b", 5);
    check(ENCODING_UTF8, "\xe2\x82", 2, BAD, 3);
    check(ENCODING_UTF8, "\xe2\x82x", 3, BAD "x", 4);
    check(ENCODING_UTF8, "\xed\xa0\x80", 3, BAD BAD BAD, 9); /* a surrogate */
    check(ENCODING_UTF8, "\xf0\x80\x80\x80", 4, BAD BAD BAD BAD, 12);
    check(ENCODING_UTF8, "\xf0\x9f\x98\x80", 4, "\xf0\x9f\x98\x80", 4);
    check(ENCODING_UTF8, "\xf4\x90", 2, BAD BAD, 6);
    check(ENCODING_UTF8, "\xc0\xaf", 2, BAD BAD, 6);
    check(ENCODING_UTF8, "", 0, "", 0);
    check(ENCODING_UTF8, "plain", 5, "plain", 5);
}

static void base64_as_rfc_4648_has_it(void **state) {
    check(ENCODING_BASE64, "", 0, "", 0);
    check(ENCODING_BASE64, "f", 1, "Zg==", 4);
    check(ENCODING_BASE64, "fo", 2, "Zm8=", 4);
    check(ENCODING_BASE64, "foo", 3, "Zm9v", 4);
    check(ENCODING_BASE64, "foobar", 6, "Zm9vYmFy", 8);
    check(ENCODING_BASE64, "\xff\xfe\xfd", 3, "//79", 4);
}

static void base64_over_many_blocks_is_one_text(void **state) {
    size_t len = 3072 * 3 + 1, want_len = (len + 2) / 3 * 4;
    char *zeros = calloc(1, len), *want = malloc(want_len);

    memset(want, 'A', want_len);
    memcpy(want + want_len - 2, "==", 2);
    check(ENCODING_BASE64, zeros, len, want, want_len);
    free(zeros);
    free(want);
}

static void raw_is_bytes(void **state) {
    check(ENCODING_RAW, "\0\xff", 2, "\0\xff", 2);
}

static void what_fits_does_fit(void **state) {
    static const enum encoding all[] = {ENCODING_AUTO, ENCODING_UTF8, ENCODING_BASE64,
                                        ENCODING_RAW};
    uint8_t bad[1000];

    memset(bad, 0xff, sizeof(bad));
    for (size_t i = 0; i < 4; i++) {
        enum encoding packed = all[i] == ENCODING_AUTO ? ENCODING_BASE64 : all[i];
        uint64_t fits = encoding_fits(all[i], 1000);

        assert_in_range(fits, 300, 1000);
        assert_in_range(encoding_size(packed, (struct slice){bad, (size_t)fits}), 1, 1000);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auto_is_text_for_text),
        cmocka_unit_test(auto_is_base64_for_both_when_one_is_not_text),
        cmocka_unit_test(a_cut_sequence_is_dropped_before_deciding),
        cmocka_unit_test(a_cut_binary_keeps_every_byte),
        cmocka_unit_test(bad_bytes_are_replaced_by_maximal_parts),
        cmocka_unit_test(base64_as_rfc_4648_has_it),
        cmocka_unit_test(base64_over_many_blocks_is_one_text),
        cmocka_unit_test(raw_is_bytes),
        cmocka_unit_test(what_fits_does_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
