/* Params by table: each type at its edges, and what is told when it is wrong. Bodies are
 * MessagePack bytes by hand. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/fields.h"
#include "proto/message.h"

static const char *const colours[] = {"red", "green", NULL};

struct inner {
    uint64_t present;
    int64_t rows;
    const char *term;
};

static const struct field inner_fields[] = {
    FIELD(inner, rows, INT, .min = 1, .max = 65535, .required = true),
    FIELD(inner, term, STR, .otherwise.s = "xterm"),
    FIELD_LATER("pixels"),
    FIELDS_END,
};

struct all {
    uint64_t present;
    bool flag;
    int64_t any_int, mode;
    uint64_t big;
    double number;
    const char *text, *name, *path;
    struct slice bytes;
    struct strv args;
    struct envs envs;
    int colour;
    struct inner pty;
    msgpack_object any;
};

enum { FLAG, ANY_INT, MODE, BIG, NUMBER, TEXT, NAME, PATH, BYTES, ARGS, ENVS, COLOUR, PTY, ANY };

static const struct field fields[] = {
    [FLAG] = FIELD(all, flag, BOOL, .otherwise.b = true),
    [ANY_INT] = FIELD(all, any_int, INT, .otherwise.i = -5),
    [MODE] = FIELD(all, mode, INT, .min = 0, .max = 07777, .otherwise.i = 0644),
    [BIG] = FIELD(all, big, UINT, .otherwise.u = 9),
    [NUMBER] = FIELD(all, number, NUMBER, .otherwise.d = 2.5),
    [TEXT] = FIELD(all, text, STR, .max_len = 8, .otherwise.s = "t"),
    [NAME] = FIELD(all, name, NAME),
    [PATH] = FIELD(all, path, PATH),
    [BYTES] = FIELD(all, bytes, BYTES, .max_len = 300),
    [ARGS] = FIELD(all, args, NAMES, .max_len = 3),
    [ENVS] = FIELD(all, envs, ENVS, .max_len = 3),
    [COLOUR] = FIELD(all, colour, CHOICE, .choices = colours, .otherwise.choice = 1),
    [PTY] = FIELD(all, pty, MAP, .fields = inner_fields),
    [ANY] = FIELD(all, any, ANY),
    FIELD_LATER("later"),
    FIELDS_END,
};

/* What one decode left; freed by the next and at the end. */
static struct all out;
static struct arena arena;
static struct failure failure;
static msgpack_zone zone;

static int clean(void **state) {
    arena_deinit(&arena);
    if (zone.chunk_list.head)
        msgpack_zone_destroy(&zone);
    memset(&zone, 0, sizeof(zone));
    return 0;
}

static int decode(const struct field *table, const void *body, size_t len) {
    msgpack_object object;
    size_t used = 0;

    clean(NULL);
    memset(&out, 0, sizeof(out));
    memset(&failure, 0, sizeof(failure));
    assert_true(msgpack_zone_init(&zone, 1024));
    assert_int_equal(msgpack_unpack(body, len, &used, &zone, &object), MSGPACK_UNPACK_SUCCESS);
    return fields_decode(table, &object, &arena, &out, &failure);
}

#define OK(text) assert_int_equal(decode(fields, text, sizeof(text) - 1), 0)
#define HAS(field) assert_true(out.present &UINT64_C(1) << (field))
#define HAS_NOT(field) assert_false(out.present &UINT64_C(1) << (field))
/* The failure names the field, and its message begins with that. */
#define BAD_AS(code_, text, field_)                                      \
    do {                                                                 \
        assert_int_equal(decode(fields, text, sizeof(text) - 1), code_); \
        assert_int_equal(failure.code, code_);                           \
        assert_string_equal(failure.field, field_);                      \
        assert_memory_equal(failure.message, field_, strlen(field_));    \
    } while (0)
#define BAD(text, field) BAD_AS(STATUS_INVALID_REQUEST, text, field)

static void absent_is_the_default(void **state) {
    OK("\x80");
    assert_true(out.present == 0);
    assert_true(out.flag);
    assert_int_equal(out.any_int, -5);
    assert_int_equal(out.mode, 0644);
    assert_int_equal(out.big, 9);
    assert_true(out.number == 2.5);
    assert_string_equal(out.text, "t");
    assert_null(out.name);
    assert_null(out.bytes.data);
    assert_int_equal(out.args.n, 0);
    assert_int_equal(out.colour, 1);
    assert_string_equal(out.pty.term, "xterm");
}

static void nil_is_absent(void **state) {
    OK("\x85\xa4"
       "flag\xc0\xa4mode\xc0\xa3pty\xc0\xa4"
       "args\xc0\xa5later\xc0");
    assert_true(out.present == 0);
    assert_true(out.flag);
    assert_int_equal(out.mode, 0644);
}

static void bools(void **state) {
    OK("\x81\xa4"
       "flag\xc2");
    HAS(FLAG);
    assert_false(out.flag);
    BAD("\x81\xa4"
        "flag\x00",
        "flag");
    BAD("\x81\xa4"
        "flag\xa4true",
        "flag");
}

static void integers_of_every_width(void **state) {
    static const struct {
        const char *body;
        size_t len;
        int64_t value;
    } rows[] = {
#define ROW(text, value)      \
    {"\x81\xa7"               \
     "any_int" text,          \
     sizeof("\x81\xa7"        \
            "any_int" text) - \
         1,                   \
     value}
        ROW("\x7f", 127),
        ROW("\xff", -1),
        ROW("\xe0", -32),
        ROW("\xcc\xff", 255),
        ROW("\xcd\xff\xff", 65535),
        ROW("\xce\xff\xff\xff\xff", 4294967295),
        ROW("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", INT64_MAX),
        ROW("\xcf\0\0\0\0\0\0\0\x01", 1),
        ROW("\xd0\x80", -128),
        ROW("\xd0\x05", 5),
        ROW("\xd1\x80\x00", -32768),
        ROW("\xd2\x80\x00\x00\x00", INT32_MIN),
        ROW("\xd3\x80\0\0\0\0\0\0\0", INT64_MIN),
        ROW("\xd3\0\0\0\0\0\0\0\x01", 1),
#undef ROW
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(decode(fields, rows[i].body, rows[i].len), 0);
        assert_true(out.any_int == rows[i].value);
    }
    BAD("\x81\xa7"
        "any_int\xcf\x80\0\0\0\0\0\0\0",
        "any_int");
    BAD("\x81\xa7"
        "any_int\xca\x3f\x80\0\0",
        "any_int");
    BAD("\x81\xa7"
        "any_int\xcb\x3f\xf0\0\0\0\0\0\0",
        "any_int");
    BAD("\x81\xa7"
        "any_int\xa1"
        "1",
        "any_int");
}

static void integers_have_a_range(void **state) {
    OK("\x81\xa4mode\x00");
    OK("\x81\xa4mode\xcd\x0f\xff");
    assert_int_equal(out.mode, 07777);
    BAD("\x81\xa4mode\xcd\x10\x00", "mode");
    BAD("\x81\xa4mode\xff", "mode");
    OK("\x81\xa3"
       "big\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_true(out.big == UINT64_MAX);
    BAD("\x81\xa3"
        "big\xff",
        "big");
    BAD("\x81\xa3"
        "big\xcb\0\0\0\0\0\0\0\0",
        "big");
}

static void numbers_are_finite_and_not_negative(void **state) {
    OK("\x81\xa6number\x03");
    assert_true(out.number == 3.0);
    OK("\x81\xa6number\xcb\x3f\xe0\0\0\0\0\0\0");
    assert_true(out.number == 0.5);
    OK("\x81\xa6number\xca\x3f\x00\0\0");
    assert_true(out.number == 0.5);
    OK("\x81\xa6number\xcb\x80\0\0\0\0\0\0\0"); /* -0.0 is 0 */
    assert_true(out.number == 0.0);
    BAD("\x81\xa6number\xff", "number");
    BAD("\x81\xa6number\xcb\xbf\xe0\0\0\0\0\0\0", "number");
    BAD("\x81\xa6number\xcb\x7f\xf0\0\0\0\0\0\0", "number");
    BAD("\x81\xa6number\xcb\xff\xf0\0\0\0\0\0\0", "number");
    BAD("\x81\xa6number\xcb\x7f\xf8\0\0\0\0\0\0", "number");
    BAD("\x81\xa6number\xca\x7f\xc0\0\0", "number");
    BAD("\x81\xa6number\xa1"
        "1",
        "number");
}

static void text_is_utf8_without_nul(void **state) {
    OK("\x81\xa4text\xa3"
       "a\xc3\xa4");
    assert_string_equal(out.text, "a\xc3\xa4");
    OK("\x81\xa4text\xa0");
    assert_string_equal(out.text, "");
    HAS(TEXT);
    OK("\x81\xa4text\xa8"
       "12345678");
    BAD("\x81\xa4text\xa9"
        "123456789",
        "text");
    BAD("\x81\xa4text\xc4\x01x", "text");
    BAD("\x81\xa4text\xa2x\0", "text");
    BAD("\x81\xa4text\xa2\xc0\x80", "text");
    BAD("\x81\xa4text\xa3\xed\xa0\x80", "text");
    BAD("\x81\xa4text\x01", "text");
}

static void names_may_be_bin(void **state) {
    OK("\x81\xa4name\xc4\x02\xff\xfe");
    assert_string_equal(out.name, "\xff\xfe");
    OK("\x81\xa4name\xa1n");
    BAD("\x81\xa4name\xa1\xff", "name");
    BAD("\x81\xa4name\xc4\x02x\0", "name");
    BAD("\x81\xa4name\x90", "name");
}

static void paths_are_absolute_and_cleaned(void **state) {
    OK("\x81\xa4path\xa9//a//b///");
    assert_string_equal(out.path, "/a/b");
    OK("\x81\xa4path\xa3///");
    assert_string_equal(out.path, "/");
    OK("\x81\xa4path\xaa/a/../b/./");
    assert_string_equal(out.path, "/a/../b/.");
    OK("\x81\xa4path\xc4\x02/\xff");
    assert_string_equal(out.path, "/\xff");
    BAD("\x81\xa4path\xa1"
        "a",
        "path");
    BAD("\x81\xa4path\xa0", "path");
    BAD("\x81\xa4path\xa3/a\0", "path");
    BAD("\x81\xa4path\xa2/\xff", "path");
}

static void a_path_ends_at_4096_bytes(void **state) {
    char body[5000] = "\x81\xa4path\xda";

    for (size_t len = 4095; len <= 4097; len++) {
        body[7] = (char)(len >> 8);
        body[8] = (char)len;
        memset(body + 9, 'x', len);
        body[9] = '/';
        assert_int_equal(decode(fields, body, 9 + len), len > 4096 ? STATUS_INVALID_REQUEST : 0);
        assert_string_equal(failure.field, len > 4096 ? "path" : "");
    }
}

static void bytes_are_bin_or_str(void **state) {
    OK("\x81\xa5"
       "bytes\xc4\x03"
       "a\0\xff");
    assert_int_equal(out.bytes.len, 3);
    assert_memory_equal(out.bytes.data, "a\0\xff", 3);
    OK("\x81\xa5"
       "bytes\xa2hi");
    assert_int_equal(out.bytes.len, 2);
    OK("\x81\xa5"
       "bytes\xc4\x00");
    HAS(BYTES);
    assert_non_null(out.bytes.data);
    assert_int_equal(out.bytes.len, 0);
    OK("\x81\xa5"
       "bytes\xa0");
    assert_non_null(out.bytes.data);
    BAD("\x81\xa5"
        "bytes\xa1\xff",
        "bytes");
    BAD("\x81\xa5"
        "bytes\x91\x01",
        "bytes");
}

static void lists_of_names(void **state) {
    OK("\x81\xa4"
       "args\x93\xa1"
       "a\xc4\x01\xff\xa0");
    assert_int_equal(out.args.n, 3);
    assert_string_equal(out.args.v[0], "a");
    assert_string_equal(out.args.v[1], "\xff");
    assert_string_equal(out.args.v[2], "");
    assert_null(out.args.v[3]);
    OK("\x81\xa4"
       "args\x90");
    HAS(ARGS);
    assert_null(out.args.v[0]);
    BAD("\x81\xa4"
        "args\x94\xa0\xa0\xa0\xa0",
        "args");
    BAD("\x81\xa4"
        "args\x91\x01",
        "args");
    BAD("\x81\xa4"
        "args\x91\xc0",
        "args");
    BAD("\x81\xa4"
        "args\x91\xa1\0",
        "args");
    BAD("\x81\xa4"
        "args\xa1"
        "a",
        "args");
}

static void environments(void **state) {
    OK("\x81\xa4"
       "envs\x83\xa1"
       "A\xa1"
       "1\xa1"
       "B\xc0\xc4\x01\xff\xc4\x01\xfe");
    assert_int_equal(out.envs.n, 3);
    assert_string_equal(out.envs.v[0].name, "A");
    assert_string_equal(out.envs.v[0].value, "1");
    assert_null(out.envs.v[1].value);
    assert_string_equal(out.envs.v[2].name, "\xff");
    assert_string_equal(out.envs.v[2].value, "\xfe");
    BAD("\x81\xa4"
        "envs\x81\xa3"
        "A=B\xa1"
        "1",
        "envs");
    BAD("\x81\xa4"
        "envs\x81\xa0\xa1"
        "1",
        "envs");
    BAD("\x81\xa4"
        "envs\x81\xa2"
        "A\0\xa1"
        "1",
        "envs");
    BAD("\x81\xa4"
        "envs\x81\xa1"
        "A\xa1\0",
        "envs");
    BAD("\x81\xa4"
        "envs\x81\xa1"
        "A\x01",
        "envs");
    BAD("\x81\xa4"
        "envs\x81\x01\xa0",
        "envs");
    BAD("\x81\xa4"
        "envs\x83\xa1"
        "A\xa0\xa1"
        "B\xa0\xa1"
        "A\xc0",
        "envs");
    BAD("\x81\xa4"
        "envs\x84\xa1"
        "A\xa0\xa1"
        "B\xa0\xa1"
        "C\xa0\xa1"
        "D\xa0",
        "envs");
    BAD("\x81\xa4"
        "envs\x90",
        "envs");
}

static void choices(void **state) {
    OK("\x81\xa6"
       "colour\xa3red");
    assert_int_equal(out.colour, 0);
    BAD("\x81\xa6"
        "colour\xa4"
        "blue",
        "colour");
    BAD("\x81\xa6"
        "colour\xa2re",
        "colour");
    BAD("\x81\xa6"
        "colour\xa4red\0",
        "colour");
    BAD("\x81\xa6"
        "colour\x00",
        "colour");
}

static void nested_fields_are_dotted(void **state) {
    OK("\x81\xa3pty\x81\xa4rows\x18");
    HAS(PTY);
    assert_true(out.pty.present == 1);
    assert_int_equal(out.pty.rows, 24);
    assert_string_equal(out.pty.term, "xterm");
    BAD("\x81\xa3pty\x80", "pty.rows");
    BAD("\x81\xa3pty\x81\xa4rows\x00", "pty.rows");
    BAD("\x81\xa3pty\x81\xa4rows\xc0", "pty.rows");
    BAD("\x81\xa3pty\x82\xa4rows\x01\xa4rows\x01", "pty.rows");
    BAD("\x81\xa3pty\x82\xa4rows\x01\xa3"
        "ink\x01",
        "pty.ink");
    BAD_AS(STATUS_UNSUPPORTED, "\x81\xa3pty\x82\xa4rows\x01\xa6pixels\x01", "pty.pixels");
    OK("\x81\xa3pty\x82\xa4rows\x01\xa6pixels\xc0");
    BAD("\x81\xa3pty\x01", "pty");
}

static void unknown_and_repeated_fields(void **state) {
    BAD("\x81\xa7unknown\x01", "unknown");
    BAD("\x81\xa7unknown\xc0", "unknown");
    BAD("\x81\xa3"
        "fla\xc2",
        "fla");
    BAD("\x81\xa5"
        "flags\xc2",
        "flags");
    BAD("\x81\xa4"
        "Flag\xc2",
        "Flag");
    BAD("\x81\xa5"
        "flag\0\xc2",
        "flag");
    BAD("\x82\xa4"
        "flag\xc2\xa4"
        "flag\xc2",
        "flag");
    BAD("\x82\xa4"
        "flag\xc0\xa4"
        "flag\xc2",
        "flag");
    BAD_AS(STATUS_UNSUPPORTED, "\x81\xa5later\x01", "later");
    BAD_AS(STATUS_INVALID_REQUEST, "\x81\x01\x01", "");
    BAD_AS(STATUS_INVALID_REQUEST, "\x81\xa1\xff\x01", "");
    BAD_AS(STATUS_INVALID_REQUEST,
           "\x81\xc4\x04"
           "flag\xc2",
           "");
}

static void a_long_unknown_key_is_cut_to_valid_text(void **state) {
    char body[200] = "\x81\xd9\x64";

    for (int i = 0; i < 50; i++)
        memcpy(body + 3 + 2 * i, "\xc3\xa4", 2);
    body[103] = 1;
    assert_int_equal(decode(fields, body, 104), STATUS_INVALID_REQUEST);
    assert_int_equal(strlen(failure.field), 62);
    assert_true(utf8_valid(failure.field, strlen(failure.field)));
    assert_true(utf8_valid(failure.message, strlen(failure.message)));
}

static void any_is_borrowed_as_it_is(void **state) {
    OK("\x81\xa3"
       "any\x92\x01\x02");
    HAS(ANY);
    assert_int_equal(out.any.type, MSGPACK_OBJECT_ARRAY);
    OK("\x81\xa3"
       "any\xc0");
    HAS_NOT(ANY);
}

static void params_that_are_no_map(void **state) {
    assert_int_equal(decode(fields, "\x90", 1), STATUS_INVALID_REQUEST);
    assert_int_equal(decode(fields, "\xc0", 1), STATUS_INVALID_REQUEST);
    assert_string_equal(failure.field, "");
    assert_true(strlen(failure.message) > 0);
}

/* Copied, not borrowed: the frame may go. */
static void values_outlive_the_frame(void **state) {
    char body[] = "\x82\xa4"
                  "name\xa4long\xa5"
                  "bytes\xc4\x02hi";

    assert_int_equal(decode(fields, body, sizeof(body) - 1), 0);
    memset(body, 'x', sizeof(body));
    msgpack_zone_destroy(&zone);
    memset(&zone, 0, sizeof(zone));
    assert_string_equal(out.name, "long");
    assert_memory_equal(out.bytes.data, "hi", 2);
}

static void failures_are_always_text(void **state) {
    char path[400];

    assert_int_equal(failure_set(&failure, STATUS_NOT_FOUND, -ENOENT, "cwd", "%s: gone", "/a\xff"),
                     STATUS_NOT_FOUND);
    assert_int_equal(failure.err, ENOENT);
    assert_string_equal(failure.field, "cwd");
    assert_string_equal(failure.message, "/a?: gone");
    failure_set(&failure, STATUS_INTERNAL, 0, NULL, "plain");
    assert_string_equal(failure.field, "");
    assert_int_equal(failure.err, 0);

    memset(path, 'a', sizeof(path));
    memcpy(path + 254, "\xc3\xa4", 2); /* the buffer ends inside it */
    path[399] = '\0';
    failure_set(&failure, STATUS_INTERNAL, 0, NULL, "%s", path);
    assert_int_equal(strlen(failure.message), 254);
}

static void the_arena_gives_zeroed_and_aligned_memory(void **state) {
    struct arena own = {0};

    for (size_t len = 0; len < 5000; len += 37) {
        char *memory = arena_alloc(&own, len);

        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % _Alignof(max_align_t), 0);
        for (size_t i = 0; i < len; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, len);
    }
    assert_string_equal(arena_strndup(&own, "cut here", 3), "cut");
    assert_string_equal(arena_strndup(&own, NULL, 0), "");
    assert_null(arena_alloc(&own, SIZE_MAX));
    assert_null(arena_strndup(&own, "x", SIZE_MAX));
    arena_deinit(&own);
    arena_deinit(&own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(absent_is_the_default),
        cmocka_unit_test(nil_is_absent),
        cmocka_unit_test(bools),
        cmocka_unit_test(integers_of_every_width),
        cmocka_unit_test(integers_have_a_range),
        cmocka_unit_test(numbers_are_finite_and_not_negative),
        cmocka_unit_test(text_is_utf8_without_nul),
        cmocka_unit_test(names_may_be_bin),
        cmocka_unit_test(paths_are_absolute_and_cleaned),
        cmocka_unit_test(a_path_ends_at_4096_bytes),
        cmocka_unit_test(bytes_are_bin_or_str),
        cmocka_unit_test(lists_of_names),
        cmocka_unit_test(environments),
        cmocka_unit_test(choices),
        cmocka_unit_test(nested_fields_are_dotted),
        cmocka_unit_test(unknown_and_repeated_fields),
        cmocka_unit_test(a_long_unknown_key_is_cut_to_valid_text),
        cmocka_unit_test(any_is_borrowed_as_it_is),
        cmocka_unit_test(params_that_are_no_map),
        cmocka_unit_test(values_outlive_the_frame),
        cmocka_unit_test(failures_are_always_text),
        cmocka_unit_test(the_arena_gives_zeroed_and_aligned_memory),
    };

    return cmocka_run_group_tests(tests, NULL, clean);
}
