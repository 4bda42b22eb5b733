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
    bool on;
    int64_t whole, mode;
    uint64_t u64;
    double number;
    const char *text, *name, *path;
    struct slice raw;
    struct strv list;
    struct envs vars;
    int hue;
    struct inner pty;
    msgpack_object object;
};

enum { ON, WHOLE, MODE, U64, NUMBER, TEXT, NAME, PATH, RAW, LIST, VARS, HUE, PTY, OBJECT };

static const struct field fields[] = {
    [ON] = FIELD(all, on, BOOL, .otherwise.b = true),
    [WHOLE] = FIELD(all, whole, INT, .otherwise.i = -5),
    [MODE] = FIELD(all, mode, INT, .min = 0, .max = 07777, .otherwise.i = 0644),
    [U64] = FIELD(all, u64, UINT, .otherwise.u = 9),
    [NUMBER] = FIELD(all, number, NUMBER, .otherwise.d = 2.5),
    [TEXT] = FIELD(all, text, STR, .max_len = 8, .otherwise.s = "t"),
    [NAME] = FIELD(all, name, NAME),
    [PATH] = FIELD(all, path, PATH),
    [RAW] = FIELD(all, raw, BYTES, .max_len = 300),
    [LIST] = FIELD(all, list, NAMES, .max_len = 3),
    [VARS] = FIELD(all, vars, ENVS, .max_len = 3),
    [HUE] = FIELD(all, hue, CHOICE, .choices = colours, .otherwise.choice = 1),
    [PTY] = FIELD(all, pty, MAP, .fields = inner_fields),
    [OBJECT] = FIELD(all, object, ANY),
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
#define HAS(field) assert_true(out.present &(UINT64_C(1) << (field)))
#define HAS_NOT(field) assert_false(out.present &(UINT64_C(1) << (field)))
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
    assert_true(out.on);
    assert_int_equal(out.whole, -5);
    assert_int_equal(out.mode, 0644);
    assert_int_equal(out.u64, 9);
    assert_true(out.number == 2.5);
    assert_string_equal(out.text, "t");
    assert_null(out.name);
    assert_null(out.raw.data);
    assert_int_equal(out.list.n, 0);
    assert_int_equal(out.hue, 1);
    assert_string_equal(out.pty.term, "xterm");
}

static void nil_is_absent(void **state) {
    OK("\x85\xa2on\xc0\xa4mode\xc0\xa3pty\xc0\xa4list\xc0\xa5later\xc0");
    assert_true(out.present == 0);
    assert_true(out.on);
    assert_int_equal(out.mode, 0644);
}

static void bools(void **state) {
    OK("\x81\xa2on\xc2");
    HAS(ON);
    assert_false(out.on);
    BAD("\x81\xa2on\x00", "on");
    BAD("\x81\xa2on\xa4true", "on");
}

static void integers_of_every_width(void **state) {
    static const struct {
        const char *body;
        size_t len;
        int64_t value;
    } rows[] = {
#define ROW(text, value) {"\x81\xa5whole" text, sizeof("\x81\xa5whole" text) - 1, value}
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
        assert_true(out.whole == rows[i].value);
    }
    BAD("\x81\xa5whole\xcf\x80\0\0\0\0\0\0\0", "whole");
    BAD("\x81\xa5whole\xca\x3f\x80\0\0", "whole");
    BAD("\x81\xa5whole\xcb\x3f\xf0\0\0\0\0\0\0", "whole");
    BAD("\x81\xa5whole\xa1"
        "1",
        "whole");
}

static void integers_have_a_range(void **state) {
    OK("\x81\xa4mode\x00");
    OK("\x81\xa4mode\xcd\x0f\xff");
    assert_int_equal(out.mode, 07777);
    BAD("\x81\xa4mode\xcd\x10\x00", "mode");
    BAD("\x81\xa4mode\xff", "mode");
    OK("\x81\xa3u64\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
    assert_true(out.u64 == UINT64_MAX);
    BAD("\x81\xa3u64\xff", "u64");
    BAD("\x81\xa3u64\xcb\0\0\0\0\0\0\0\0", "u64");
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
    OK("\x81\xa3raw\xc4\x03"
       "a\0\xff");
    assert_int_equal(out.raw.len, 3);
    assert_memory_equal(out.raw.data, "a\0\xff", 3);
    OK("\x81\xa3raw\xa2hi");
    assert_int_equal(out.raw.len, 2);
    OK("\x81\xa3raw\xc4\x00");
    HAS(RAW);
    assert_non_null(out.raw.data);
    assert_int_equal(out.raw.len, 0);
    OK("\x81\xa3raw\xa0");
    assert_non_null(out.raw.data);
    BAD("\x81\xa3raw\xa1\xff", "raw");
    BAD("\x81\xa3raw\x91\x01", "raw");
}

static void lists_of_names(void **state) {
    OK("\x81\xa4list\x93\xa1"
       "a\xc4\x01\xff\xa0");
    assert_int_equal(out.list.n, 3);
    assert_string_equal(out.list.v[0], "a");
    assert_string_equal(out.list.v[1], "\xff");
    assert_string_equal(out.list.v[2], "");
    assert_null(out.list.v[3]);
    OK("\x81\xa4list\x90");
    HAS(LIST);
    assert_null(out.list.v[0]);
    BAD("\x81\xa4list\x94\xa0\xa0\xa0\xa0", "list");
    BAD("\x81\xa4list\x91\x01", "list");
    BAD("\x81\xa4list\x91\xc0", "list");
    BAD("\x81\xa4list\x91\xa1\0", "list");
    BAD("\x81\xa4list\xa1"
        "a",
        "list");
}

static void environments(void **state) {
    OK("\x81\xa4vars\x83\xa1"
       "A\xa1"
       "1\xa1"
       "B\xc0\xc4\x01\xff\xc4\x01\xfe");
    assert_int_equal(out.vars.n, 3);
    assert_string_equal(out.vars.v[0].name, "A");
    assert_string_equal(out.vars.v[0].value, "1");
    assert_null(out.vars.v[1].value);
    assert_string_equal(out.vars.v[2].name, "\xff");
    assert_string_equal(out.vars.v[2].value, "\xfe");
    BAD("\x81\xa4vars\x81\xa3"
        "A=B\xa1"
        "1",
        "vars");
    BAD("\x81\xa4vars\x81\xa0\xa1"
        "1",
        "vars");
    BAD("\x81\xa4vars\x81\xa2"
        "A\0\xa1"
        "1",
        "vars");
    BAD("\x81\xa4vars\x81\xa1"
        "A\xa1\0",
        "vars");
    BAD("\x81\xa4vars\x81\xa1"
        "A\x01",
        "vars");
    BAD("\x81\xa4vars\x81\x01\xa0", "vars");
    BAD("\x81\xa4vars\x83\xa1"
        "A\xa0\xa1"
        "B\xa0\xa1"
        "A\xc0",
        "vars");
    BAD("\x81\xa4vars\x84\xa1"
        "A\xa0\xa1"
        "B\xa0\xa1"
        "C\xa0\xa1"
        "D\xa0",
        "vars");
    BAD("\x81\xa4vars\x90", "vars");
}

static void choices(void **state) {
    OK("\x81\xa3hue\xa3red");
    assert_int_equal(out.hue, 0);
    BAD("\x81\xa3hue\xa4"
        "blue",
        "hue");
    BAD("\x81\xa3hue\xa2re", "hue");
    BAD("\x81\xa3hue\xa4red\0", "hue");
    BAD("\x81\xa3hue\x00", "hue");
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
    BAD("\x81\xa1o\xc2", "o");
    BAD("\x81\xa3one\xc2", "one");
    BAD("\x81\xa2On\xc2", "On");
    BAD("\x81\xa3on\0\xc2", "on");
    BAD("\x82\xa2on\xc2\xa2on\xc2", "on");
    BAD("\x82\xa2on\xc0\xa2on\xc2", "on");
    BAD_AS(STATUS_UNSUPPORTED, "\x81\xa5later\x01", "later");
    BAD("\x81\xa0\x01", "");
    BAD_AS(STATUS_INVALID_REQUEST, "\x81\x01\x01", "");
    BAD_AS(STATUS_INVALID_REQUEST, "\x81\xa1\xff\x01", "");
    BAD_AS(STATUS_INVALID_REQUEST, "\x81\xc4\x02on\xc2", "");
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
    OK("\x81\xa6object\x92\x01\x02");
    HAS(OBJECT);
    assert_int_equal(out.object.type, MSGPACK_OBJECT_ARRAY);
    OK("\x81\xa6object\xc0");
    HAS_NOT(OBJECT);
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
                  "name\xa4long\xa3raw\xc4\x02hi";

    assert_int_equal(decode(fields, body, sizeof(body) - 1), 0);
    memset(body, 'x', sizeof(body));
    msgpack_zone_destroy(&zone);
    memset(&zone, 0, sizeof(zone));
    assert_string_equal(out.name, "long");
    assert_memory_equal(out.raw.data, "hi", 2);
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
    };

    return cmocka_run_group_tests(tests, NULL, clean);
}
