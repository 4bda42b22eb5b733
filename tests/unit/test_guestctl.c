/* What guestctl prints with: JSON, harmless text, sizes, times, tables. */
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/client/human.h"
#include "proto/client/json.h"
#include "proto/client/progress.h"

static msgpack_object str(const char *text, size_t len) {
    return (msgpack_object){.type = MSGPACK_OBJECT_STR, .via.str = {(uint32_t)len, text}};
}

static msgpack_object bin(const char *data, size_t len) {
    return (msgpack_object){.type = MSGPACK_OBJECT_BIN, .via.bin = {(uint32_t)len, data}};
}

static msgpack_object number(double value) {
    return (msgpack_object){.type = MSGPACK_OBJECT_FLOAT64, .via.f64 = value};
}

static void assert_json(msgpack_object object, const char *expected) {
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    json_write(out, &object);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void test_json_escapes_text(void **state) {
    assert_json(str("a\"b\\c\n\t\b\f\r", 10), "\"a\\\"b\\\\c\\n\\t\\b\\f\\r\"");
    assert_json(str("\0\x1f\x7f", 3), "\"\\u0000\\u001f\x7f\"");
    assert_json(str("caf\xc3\xa9 \xf0\x9f\x90\xa7", 10), "\"caf\xc3\xa9 \xf0\x9f\x90\xa7\"");
    assert_json(str("\xff\xc3(\xed\xa0\x80\xf0\x9f", 8),
                "\"\xef\xbf\xbd\xef\xbf\xbd("
                "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    assert_json(str("bfnrt", 5), "\"bfnrt\"");
}

static void test_json_bytes_are_base64(void **state) {
    assert_json(bin("", 0), "\"\"");
    assert_json(bin("f", 1), "\"Zg==\"");
    assert_json(bin("fo", 2), "\"Zm8=\"");
    assert_json(bin("foo", 3), "\"Zm9v\"");
    assert_json(bin("\xff\xfe\x00\xfb", 4), "\"//4A+w==\"");
}

static void test_json_numbers_read_back(void **state) {
    assert_json(number(0.1), "0.1");
    assert_json(number(3), "3.0");
    assert_json(number(1730000000.123456), "1730000000.123456");
    assert_json(number(1e300), "1e+300");
    assert_json(number(NAN), "null");
    assert_json(number(INFINITY), "null");
    assert_json((msgpack_object){.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = UINT64_MAX},
                "18446744073709551615");
    assert_json((msgpack_object){.type = MSGPACK_OBJECT_NEGATIVE_INTEGER, .via.i64 = INT64_MIN},
                "-9223372036854775808");
}

static void test_json_containers(void **state) {
    msgpack_object items[] = {{.type = MSGPACK_OBJECT_NIL},
                              {.type = MSGPACK_OBJECT_BOOLEAN, .via.boolean = true}};
    msgpack_object array = {.type = MSGPACK_OBJECT_ARRAY, .via.array = {2, items}};
    msgpack_object_kv pairs[] = {
        {str("a", 1), array},
        {{.type = MSGPACK_OBJECT_POSITIVE_INTEGER, .via.u64 = 5}, str("", 0)},
        {array, bin("", 0)},
    };

    assert_json((msgpack_object){.type = MSGPACK_OBJECT_MAP, .via.map = {3, pairs}},
                "{\"a\":[null,true],\"5\":\"\",\"\":\"\"}");
}

static void test_a_guests_text_cant_drive_the_terminal(void **state) {
    static const char hostile[] = "\x1b]0;x\x07 a\nb\tc \xc2\x9b"
                                  "1m \xff \xc3\xa9";
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    human_bytes(out, (struct guestproto_bytes){hostile, sizeof(hostile) - 1});
    fclose(out);
    assert_string_equal(text, "\\e]0;x\\x07 a\\nb\\tc \\xc2\\x9b1m \\xff \xc3\xa9");
    free(text);
}

static void test_sizes_and_durations(void **state) {
    char size[8], text[HUMAN_TEXT];

    assert_string_equal(human_size(0, size), "0");
    assert_string_equal(human_size(999, size), "999");
    assert_string_equal(human_size(1000, size), "1.0K");
    assert_string_equal(human_size(10 * 1024, size), "10K");
    assert_string_equal(human_size(1536 * 1024, size), "1.5M");
    assert_string_equal(human_size(UINT64_MAX, size), "16E");
    assert_string_equal(human_duration(0.0851, text), "85 ms");
    assert_string_equal(human_duration(1.25, text), "1.25 s");
    assert_string_equal(human_duration(187, text), "3 m 07 s");
    assert_string_equal(human_duration(7500, text), "2 h 05 m");
    assert_string_equal(human_duration(3 * 86400 + 4 * 3600, text), "3 d 04 h");
}

static void test_times_are_local_and_never_overflow(void **state) {
    char text[HUMAN_TEXT];

    setenv("TZ", "UTC", 1);
    tzset();
    assert_string_equal(human_time(1730000000, text), "2024-10-27 03:33:20");
    assert_string_equal(human_time(INT64_MAX, text), "@9223372036854775807");
}

static void test_columns_stand_under_one_another(void **state) {
    char path[] = "/tmp/table-XXXXXX", text[256] = "";
    int fd = mkstemp(path), saved = dup(STDOUT_FILENO);
    struct table table;

    assert_true(fd >= 0);
    unlink(path);
    fflush(stdout);
    dup2(fd, STDOUT_FILENO);
    table_init(&table, 3, 1u << 0);
    table_text(&table, "7");
    table_text(&table, "caf\xc3\xa9");
    table_text(&table, "x");
    table_text(&table, "1234");
    table_text(&table, "a");
    table_text(&table, "long last");
    table_flush(&table);
    table_text(&table, "8");
    table_text(&table, "b");
    table_text(&table, "");
    table_deinit(&table);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    assert_true(pread(fd, text, sizeof(text) - 1, 0) > 0);
    close(fd);
    assert_string_equal(text, "   7  caf\xc3\xa9  x\n1234  a     long last\n   8  b     \n");
}

/* What stderr's terminal shows of `draw`. */
static char *on_terminal(void (*draw)(void), char *shown, size_t size) {
    int terminal = posix_openpt(O_RDWR | O_NOCTTY), saved = dup(STDERR_FILENO), theirs;
    struct winsize wide = {.ws_col = 120, .ws_row = 24};
    size_t len = 0;
    ssize_t n;

    assert_true(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    theirs = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(theirs >= 0 && ioctl(theirs, TIOCSWINSZ, &wide) == 0);
    dup2(theirs, STDERR_FILENO);
    draw();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(theirs);
    /* A terminal hands its bytes on in its own time; once its last writer has left, an error is the
     * end. */
    while ((n = read(terminal, shown + len, size - 1 - len)) > 0)
        len += (size_t)n;
    shown[len] = '\0';
    close(terminal);
    return shown;
}

static void draw_half(void) {
    struct progress progress;

    progress_begin(&progress, "/some/where/data.bin", 1000 << 20);
    progress_update(&progress, 1 << 20);
    /* As if 100 seconds had passed: what the test itself takes is lost in the rounding. */
    progress.start_ms -= 100000;
    progress.shown_ms -= 100000;
    progress_update(&progress, 500 << 20);
    progress_end(&progress, 1000 << 20, true);
}

static void draw_broken(void) {
    struct progress progress;

    progress_begin(&progress, "data.bin", 0);
    progress.start_ms -= 100000;
    progress.shown_ms -= 100000;
    progress_update(&progress, 500 << 20);
    progress_end(&progress, 0, false);
}

static void draw_quick(void) {
    struct progress progress;

    progress_begin(&progress, "data.bin", 10);
    progress_update(&progress, 10);
    progress_end(&progress, 10, true);
}

static void test_progress_is_a_line_with_a_bar(void **state) {
    char shown[1024];

    on_terminal(draw_half, shown, sizeof(shown));
    assert_non_null(strstr(shown, "\rdata.bin [####################--------------------]  50%  "
                                  "500M of 1.0G  5.0M/s  ETA 1 m 40 s"));
    assert_non_null(strstr(shown, "\rdata.bin [########################################] 100%  "
                                  "1.0G of 1.0G  10M/s  in 1 m 40 s"));
    assert_string_equal(shown + strlen(shown) - 2, "\r\n");
    assert_null(strstr(shown, "  1%"));
}

static void test_progress_leaves_no_trace_of_what_failed(void **state) {
    char shown[1024];

    on_terminal(draw_broken, shown, sizeof(shown));
    assert_string_equal(shown + strlen(shown) - 4, "\r\x1b[K");
    assert_non_null(strstr(shown, "data.bin  500M  5.0M/s"));
    assert_null(strchr(shown, '#'));
    assert_string_equal(on_terminal(draw_quick, shown, sizeof(shown)), "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_escapes_text),
        cmocka_unit_test(test_json_bytes_are_base64),
        cmocka_unit_test(test_json_numbers_read_back),
        cmocka_unit_test(test_json_containers),
        cmocka_unit_test(test_a_guests_text_cant_drive_the_terminal),
        cmocka_unit_test(test_sizes_and_durations),
        cmocka_unit_test(test_times_are_local_and_never_overflow),
        cmocka_unit_test(test_progress_is_a_line_with_a_bar),
        cmocka_unit_test(test_progress_leaves_no_trace_of_what_failed),
        cmocka_unit_test(test_columns_stand_under_one_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
