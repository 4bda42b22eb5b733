/*
 * Golden frames: every proto/vectors/NAME.ok.hex is a whole frame that decodes to what its first
 * line says; every NAME.bad.hex fails in the way its first line says. The other clients are tested
 * on the same files.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/limits.h"
#include "proto/message.h"

#define MAX_FRAME ((1 << 20) + (64 << 10))
#define NESTING 16

struct vector {
    char says[256]; /* the first line, without "# " */
    uint8_t bytes[8192];
    size_t len;
};

static int digit(int c) {
    return isdigit(c) ? c - '0' : isxdigit(c) ? tolower(c) - 'a' + 10 : -1;
}

static void vector_read(const char *name, struct vector *ret) {
    char path[512], line[256];
    FILE *file;
    int high = -1;

    snprintf(path, sizeof(path), "%s/%s", VECTORS, name);
    file = fopen(path, "re");
    assert_non_null(file);
    memset(ret, 0, sizeof(*ret));
    while (fgets(line, sizeof(line), file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#') {
            if (!ret->says[0])
                snprintf(ret->says, sizeof(ret->says), "%s", line + 2);
            continue;
        }
        for (const char *c = line; *c; c++) {
            if (isspace((unsigned char)*c))
                continue;
            assert_int_not_equal(digit((unsigned char)*c), -1);
            if (high < 0) {
                high = digit((unsigned char)*c);
                continue;
            }
            assert_true(ret->len < sizeof(ret->bytes));
            ret->bytes[ret->len++] = (uint8_t)(high << 4 | digit((unsigned char)*c));
            high = -1;
        }
    }
    assert_int_equal(high, -1);
    fclose(file);
}

static const char *message_error_name(int error) {
    switch (error) {
    case MESSAGE_TRUNCATED:
        return "MESSAGE_TRUNCATED";
    case MESSAGE_NESTED:
        return "MESSAGE_NESTED";
    case MESSAGE_OBJECTS:
        return "MESSAGE_OBJECTS";
    case MESSAGE_SHAPE:
        return "MESSAGE_SHAPE";
    case MESSAGE_METHOD:
        return "MESSAGE_METHOD";
    case MESSAGE_PARAMS:
        return "MESSAGE_PARAMS";
    }
    return "nothing";
}

/* What is found: "request METHOD", "response", "notification METHOD", or "error: NAME". */
static void describe(const struct vector *vector, char *buf, size_t len) {
    static const char *const kinds[] = {"request", "response", "notification"};
    uint8_t *exact =
        malloc(vector->len ? vector->len : 1); /* so that a read past the end is seen */
    struct message message;
    struct slice body;
    size_t need;
    int r;

    memcpy(exact, vector->bytes, vector->len);
    r = frame_pop(exact, vector->len, MAX_FRAME, &body, &need);
    if (r <= 0) {
        snprintf(buf, len, "error: %s", r == -EMSGSIZE ? "FRAME_EMSGSIZE" : "FRAME_INCOMPLETE");
        free(exact);
        return;
    }
    assert_int_equal(FRAME_HEADER + body.len, vector->len);
    r = message_decode(body, NESTING, &message);
    if (r == 0)
        snprintf(buf, len, "%s%s%.*s", kinds[message.kind], message.method.len ? " " : "",
                 (int)message.method.len, (const char *)message.method.data);
    else
        snprintf(buf, len, "error: %s", message_error_name(r));
    if (r == 0 || r == MESSAGE_METHOD || r == MESSAGE_PARAMS)
        message_deinit(&message);
    free(exact);
}

static bool ends_with(const char *text, const char *end) {
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

static unsigned check_all(const char *suffix) {
    DIR *dir = opendir(VECTORS);
    struct dirent *entry;
    unsigned wrong = 0, n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        struct vector vector;
        char found[256];

        if (!ends_with(entry->d_name, suffix))
            continue;
        n++;
        vector_read(entry->d_name, &vector);
        describe(&vector, found, sizeof(found));
        if (strcmp(found, vector.says) != 0 ||
            (strncmp(found, "error: ", 7) == 0) != (strcmp(suffix, ".bad.hex") == 0)) {
            print_error("%s says '%s', is '%s'\n", entry->d_name, vector.says, found);
            wrong++;
        }
    }
    closedir(dir);
    assert_int_equal(wrong, 0);
    return n;
}

static void what_must_decode(void **state) {
    assert_true(check_all(".ok.hex") >= 40);
}

static void what_must_not(void **state) {
    assert_true(check_all(".bad.hex") >= 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_must_decode),
        cmocka_unit_test(what_must_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
