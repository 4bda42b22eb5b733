/* Messages: shapes, lies about lengths, nesting, object counts; UTF-8 and the packing helpers. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/message.h"

#define BODY(text) ((struct slice){(const uint8_t *)(text), sizeof(text) - 1})
#define NESTING 16

static int decode_kind(struct slice body) {
    struct message message;
    int r = message_decode(body, NESTING, &message);

    if (r == 0)
        message_deinit(&message);
    return r;
}

static void a_request(void **state) {
    struct message message;

    assert_int_equal(
        message_decode(BODY("\x94\x00\x07\xa4ping\x81\xa5touch\xc2"), NESTING, &message), 0);
    assert_int_equal(message.kind, MESSAGE_REQUEST);
    assert_int_equal(message.msgid, 7);
    assert_int_equal(message.method.len, 4);
    assert_memory_equal(message.method.data, "ping", 4);
    assert_int_equal(message.params.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(message.params.via.map.size, 1);
    message_deinit(&message);
    message_deinit(&message);
}

static void an_empty_method_is_given(void **state) {
    struct message message;

    assert_int_equal(message_decode(BODY("\x94\x00\x02\xa0\x80"), NESTING, &message), 0);
    assert_non_null(message.method.data);
    assert_int_equal(message.method.len, 0);
    message_deinit(&message);
}

static void a_response_and_an_error(void **state) {
    struct message message;

    assert_int_equal(message_decode(BODY("\x94\x01\xcd\x01\x00\xc0\x80"), NESTING, &message), 0);
    assert_int_equal(message.kind, MESSAGE_RESPONSE);
    assert_int_equal(message.msgid, 256);
    assert_int_equal(message.error.type, MSGPACK_OBJECT_NIL);
    assert_int_equal(message.result.type, MSGPACK_OBJECT_MAP);
    message_deinit(&message);

    assert_int_equal(message_decode(BODY("\x94\x01\x05\x80\xc0"), NESTING, &message), 0);
    assert_int_equal(message.error.type, MSGPACK_OBJECT_MAP);
    assert_int_equal(message.result.type, MSGPACK_OBJECT_NIL);
    message_deinit(&message);
}

static void a_notification(void **state) {
    struct message message;

    assert_int_equal(message_decode(BODY("\x93\x02\xa1m\x80"), NESTING, &message), 0);
    assert_int_equal(message.kind, MESSAGE_NOTIFICATION);
    assert_memory_equal(message.method.data, "m", 1);
    message_deinit(&message);
}

static void a_msgid_is_any_width_of_u32(void **state) {
    assert_int_equal(decode_kind(BODY("\x94\x00\xcf\0\0\0\0\xff\xff\xff\xff\xa1m\x80")), 0);
    assert_int_equal(decode_kind(BODY("\x94\x00\xd3\0\0\0\0\0\0\0\x01\xa1m\x80")), 0);
    assert_int_equal(decode_kind(BODY("\x94\xd0\x00\xd0\x01\xa1m\x80")), 0);
    assert_int_equal(decode_kind(BODY("\x94\x00\xcf\0\0\0\x01\0\0\0\0\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x00\xff\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x00\xca\0\0\0\0\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x00\xa1x\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x00\xc0\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x01\xff\xc0\x80")), MESSAGE_SHAPE);
}

static void unknown_shapes(void **state) {
    assert_int_equal(decode_kind(BODY("\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x90")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x03\x00\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\xff\x00\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\xa1x\x00\xa1m\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x93\x00\x00\xa1m")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x95\x00\x00\xa1m\x80\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x02\xa1m\x80\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x93\x02\x01\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x93\x02\xa1m\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x93\x02\xa1\xff\x80")), MESSAGE_SHAPE);
}

static void a_response_has_one_of_error_and_result(void **state) {
    assert_int_equal(decode_kind(BODY("\x94\x01\x00\xc0\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x01\x00\x80\x80")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x01\x00\xc0\x05")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x01\x00\xa1x\xc0")), MESSAGE_SHAPE);
    assert_int_equal(decode_kind(BODY("\x94\x01\x00\xc2\xc0")), MESSAGE_SHAPE);
}

static void a_bad_method_or_params_can_still_be_answered(void **state) {
    struct message message;

    assert_int_equal(message_decode(BODY("\x94\x00\x09\x01\x80"), NESTING, &message),
                     MESSAGE_METHOD);
    assert_int_equal(message.kind, MESSAGE_REQUEST);
    assert_int_equal(message.msgid, 9);
    message_deinit(&message);

    assert_int_equal(message_decode(BODY("\x94\x00\x09\xa2\xc3\x28\x80"), NESTING, &message),
                     MESSAGE_METHOD);
    message_deinit(&message);
    assert_int_equal(message_decode(BODY("\x94\x00\x09\xc4\x01m\x80"), NESTING, &message),
                     MESSAGE_METHOD);
    message_deinit(&message);

    assert_int_equal(message_decode(BODY("\x94\x00\x0a\xa4ping\xc0"), NESTING, &message),
                     MESSAGE_PARAMS);
    assert_int_equal(message.msgid, 10);
    assert_memory_equal(message.method.data, "ping", 4);
    message_deinit(&message);
}

/* One of each kind of object, so that a cut falls inside each kind of head. */
static const char rich[] = "\x94\x00\xcd\x12\x34\xa4"
                           "exec"
                           "\x8c"
                           "\xa1"
                           "a\xcc\xff"
                           "\xa1"
                           "b\xd1\xff\x00"
                           "\xa1"
                           "c\xd2\xff\x00\x00\x00"
                           "\xa1"
                           "d\xd3\xff\x00\x00\x00\x00\x00\x00\x00"
                           "\xa1"
                           "e\xca\x3f\x80\x00\x00"
                           "\xa1"
                           "f\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00"
                           "\xa1"
                           "g\xd9\x02hi"
                           "\xa1"
                           "h\xda\x00\x02hi"
                           "\xa1"
                           "i\xdb\x00\x00\x00\x02hi"
                           "\xa1"
                           "j\xc4\x01\x00"
                           "\xa1"
                           "k\xdc\x00\x02\xc5\x00\x01\x00\xc6\x00\x00\x00\x01\x00"
                           "\xa1"
                           "l\xde\x00\x01\xdf\x00\x00\x00\x00\xdd\x00\x00\x00\x01\xc3";

static void every_cut_is_refused(void **state) {
    const size_t len = sizeof(rich) - 1;

    assert_int_equal(decode_kind(BODY(rich)), 0);
    for (size_t cut = 0; cut < len; cut++) {
        /* On the heap and exactly as long, so that ASan and valgrind see a byte read past the end.
         */
        uint8_t *copy = malloc(cut ? cut : 1);

        memcpy(copy, rich, cut);
        assert_int_equal(message_check((struct slice){copy, cut}, NESTING), MESSAGE_TRUNCATED);
        assert_int_equal(decode_kind((struct slice){copy, cut}), MESSAGE_TRUNCATED);
        free(copy);
    }
}

static void bytes_after_the_object_are_refused(void **state) {
    uint8_t longer[sizeof(rich)];

    memcpy(longer, rich, sizeof(rich)); /* the literal's NUL is the byte too many */
    assert_int_equal(decode_kind((struct slice){longer, sizeof(longer)}), MESSAGE_TRUNCATED);
    assert_int_equal(decode_kind(BODY("\x93\x02\xa1m\x80\x93\x02\xa1m\x80")), MESSAGE_TRUNCATED);
}

static void lengths_that_lie(void **state) {
    assert_int_equal(decode_kind(BODY("\xdd\xff\xff\xff\xff\x00\x00\x00\x00\x00")),
                     MESSAGE_TRUNCATED);
    assert_int_equal(decode_kind(BODY("\xdf\xff\xff\xff\xff\x00\x00\x00\x00\x00")),
                     MESSAGE_TRUNCATED);
    assert_int_equal(decode_kind(BODY("\xdf\x80\x00\x00\x00\x00\x00\x00\x00\x00")),
                     MESSAGE_TRUNCATED);
    assert_int_equal(decode_kind(BODY("\x94\x00\x00\xdb\xff\xff\xff\xffx\x80")), MESSAGE_TRUNCATED);
    assert_int_equal(decode_kind(BODY("\x94\x00\x00\xa1m\x81\xa1x\xc6\xff\xff\xff\xff")),
                     MESSAGE_TRUNCATED);
}

static void what_is_not_ours_is_refused(void **state) {
    static const char *const bodies[] = {"\xc1",         "\xc7\x01\x05\x00", "\xc8", "\xc9",
                                         "\xd4\x01\x02", "\xd5\x01\x02\x03", "\xd6", "\xd7",
                                         "\xd8"};

    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        uint8_t body[64] = {0x94, 0x00, 0x00, 0xa1, 'm', 0x91};

        memcpy(body + 6, bodies[i], strlen(bodies[i]));
        assert_int_equal(message_check((struct slice){body, sizeof(body)}, NESTING),
                         MESSAGE_TRUNCATED);
    }
}

/* levels containers, the innermost empty. */
static struct slice nest(uint8_t *buf, unsigned levels, uint8_t head) {
    memset(buf, head, levels);
    buf[levels - 1] = head & 0xf0;
    return (struct slice){buf, levels};
}

static void nesting_is_counted_from_the_outermost_array(void **state) {
    uint8_t buf[1000];

    assert_int_equal(message_check(nest(buf, 16, 0x91), 16), 0);
    assert_int_equal(message_check(nest(buf, 17, 0x91), 16), MESSAGE_NESTED);
    assert_int_equal(message_check(nest(buf, 1, 0x91), 1), 0);
    assert_int_equal(message_check(nest(buf, 2, 0x91), 1), MESSAGE_NESTED);
    assert_int_equal(message_check(nest(buf, 1000, 0x91), 16), MESSAGE_NESTED);
    /* An open level too many is refused before its missing contents are. */
    memset(buf, 0x81, sizeof(buf));
    assert_int_equal(message_check((struct slice){buf, sizeof(buf)}, 16), MESSAGE_NESTED);
    /* Siblings do not add up. */
    assert_int_equal(message_check(BODY("\x93\x91\x90\x91\x90\x91\x90"), 3), 0);
}

static void no_limit_lets_more_than_32_levels_through(void **state) {
    uint8_t buf[64];
    struct message message;

    assert_int_equal(message_check(nest(buf, 32, 0x91), UINT32_MAX), 0);
    assert_int_equal(message_check(nest(buf, 33, 0x91), UINT32_MAX), MESSAGE_NESTED);
    /* And msgpack-c takes the 32 too: only the shape is wrong. */
    assert_int_equal(message_decode(nest(buf, 32, 0x91), 100, &message), MESSAGE_SHAPE);
}

/* An array of n nils. */
static struct slice nils(uint8_t *buf, uint32_t n) {
    buf[0] = 0xdd;
    frame_header(buf + 1, n);
    memset(buf + 5, 0xc0, n);
    return (struct slice){buf, 5 + n};
}

static void objects_are_counted(void **state) {
    uint8_t *buf = malloc(MAX_OBJECTS + 16);

    assert_int_equal(message_check(nils(buf, MAX_OBJECTS - 1), NESTING), 0);
    assert_int_equal(message_check(nils(buf, MAX_OBJECTS), NESTING), MESSAGE_OBJECTS);
    buf[0] = 0xdf; /* a map's pairs are two each */
    frame_header(buf + 1, MAX_OBJECTS / 2);
    assert_int_equal(message_check((struct slice){buf, MAX_OBJECTS + 5}, NESTING), MESSAGE_OBJECTS);
    frame_header(buf + 1, MAX_OBJECTS / 2 - 1);
    assert_int_equal(message_check((struct slice){buf, MAX_OBJECTS + 3}, NESTING), 0);
    free(buf);
}

static void utf8_is_rfc_3629(void **state) {
    static const char *const good[] = {"",
                                       "plain",
                                       "\xc2\x80",
                                       "\xdf\xbf",
                                       "\xe0\xa0\x80",
                                       "\xed\x9f\xbf",
                                       "\xee\x80\x80",
                                       "\xef\xbf\xbf",
                                       "\xf0\x90\x80\x80",
                                       "\xf4\x8f\xbf\xbf",
                                       "eight by eight, gr\xc3\xbc\xc3\x9f dich"};
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xc2",
                                      "\xc2 ",
                                      "\xe0\x80\x80",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xed\xbf\xbf",
                                      "\xe2\x82",
                                      "\xf0\x80\x80\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xfe",
                                      "\xf0\x9f\x98",
                                      "eight by eight, then \xe2\x82 cut"};

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(utf8_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(utf8_valid(bad[i], strlen(bad[i])));
    assert_true(utf8_valid("a\0b", 3));
}

static void trim_cuts_only_what_is_begun(void **state) {
    assert_int_equal(utf8_trim("", 0), 0);
    assert_int_equal(utf8_trim("abc", 3), 3);
    assert_int_equal(utf8_trim("ab\xc3", 3), 2);
    assert_int_equal(utf8_trim("ab\xc3\xa4", 4), 4);
    assert_int_equal(utf8_trim("a\xe2\x82", 3), 1);
    assert_int_equal(utf8_trim("a\xe2\x82\xac", 4), 4);
    assert_int_equal(utf8_trim("\xf0\x9f\x98", 3), 0);
    assert_int_equal(utf8_trim("\xf0\x9f\x98\x80", 4), 4);
    /* Not the end of anything: left as it is, for utf8_valid to judge. */
    assert_int_equal(utf8_trim("a\xff", 2), 2);
    assert_int_equal(utf8_trim("\x80\x80\x80\x80", 4), 4);
}

static void names_are_str_or_bin(void **state) {
    msgpack_sbuffer buf;
    msgpack_packer pk;

    msgpack_sbuffer_init(&buf);
    msgpack_packer_init(&pk, &buf, msgpack_sbuffer_write);
    pack_kv_name(&pk, "n", "ok");
    pack_kv_name(&pk, "n", "\xff");
    pack_kv_name(&pk, "n", NULL);
    pack_kv_text(&pk, "t", "");
    pack_kv_int(&pk, "i", -1);
    pack_kv_uint(&pk, "u", UINT64_MAX);
    pack_kv_bool(&pk, "b", true);
    pack_kv_double(&pk, "d", 1.0);
    pack_kv_nil(&pk, "0");
    pack_bytes(&pk, NULL, 0);
    assert_int_equal(buf.size, sizeof("\xa1n\xa2ok\xa1n\xc4\x01\xff\xa1n\xc0\xa1t\xa0\xa1i\xff"
                                      "\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
                                      "b\xc3\xa1"
                                      "d\xcb\x3f\xf0\0\0\0\0\0\0\xa1"
                                      "0\xc0\xc4\0") -
                                   1);
    assert_memory_equal(buf.data,
                        "\xa1n\xa2ok\xa1n\xc4\x01\xff\xa1n\xc0\xa1t\xa0\xa1i\xff"
                        "\xa1u\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1"
                        "b\xc3\xa1"
                        "d\xcb\x3f\xf0\0\0\0\0\0\0\xa1"
                        "0\xc0\xc4\0",
                        buf.size);
    msgpack_sbuffer_destroy(&buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request),
        cmocka_unit_test(an_empty_method_is_given),
        cmocka_unit_test(a_response_and_an_error),
        cmocka_unit_test(a_notification),
        cmocka_unit_test(a_msgid_is_any_width_of_u32),
        cmocka_unit_test(unknown_shapes),
        cmocka_unit_test(a_response_has_one_of_error_and_result),
        cmocka_unit_test(a_bad_method_or_params_can_still_be_answered),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(bytes_after_the_object_are_refused),
        cmocka_unit_test(lengths_that_lie),
        cmocka_unit_test(what_is_not_ours_is_refused),
        cmocka_unit_test(nesting_is_counted_from_the_outermost_array),
        cmocka_unit_test(no_limit_lets_more_than_32_levels_through),
        cmocka_unit_test(objects_are_counted),
        cmocka_unit_test(utf8_is_rfc_3629),
        cmocka_unit_test(trim_cuts_only_what_is_begun),
        cmocka_unit_test(names_are_str_or_bin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
