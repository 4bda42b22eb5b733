/* The error codes: names both ways, HTTP, and what an errno becomes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "proto/status.h"

static void the_table_of_the_protocol(void **state) {
    static const struct {
        enum status status;
        const char *name;
        int http;
    } rows[] = {
        {STATUS_INVALID_REQUEST, "invalid_request", 400},
        {STATUS_WRONG_TYPE, "wrong_type", 400},
        {STATUS_UNAUTHENTICATED, "unauthenticated", 401},
        {STATUS_PERMISSION_DENIED, "permission_denied", 403},
        {STATUS_NOT_FOUND, "not_found", 404},
        {STATUS_ALREADY_EXISTS, "already_exists", 409},
        {STATUS_BUSY, "busy", 409},
        {STATUS_TOO_LARGE, "too_large", 413},
        {STATUS_LIMIT_EXCEEDED, "limit_exceeded", 429},
        {STATUS_CANCELLED, "cancelled", 499},
        {STATUS_INTERNAL, "internal", 500},
        {STATUS_UNSUPPORTED, "unsupported", 501},
        {STATUS_TIMEOUT, "timeout", 504},
        {STATUS_NO_SPACE, "no_space", 507},
    };

    assert_int_equal(sizeof(rows) / sizeof(rows[0]), STATUS_MAX_ - 1);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_string_equal(status_name(rows[i].status), rows[i].name);
        assert_int_equal(status_from_name(rows[i].name), rows[i].status);
        assert_int_equal(status_http(rows[i].status), rows[i].http);
    }
}

static void what_is_not_known_is_internal(void **state) {
    assert_int_equal(status_from_name("from_the_future"), STATUS_INTERNAL);
    assert_int_equal(status_from_name(""), STATUS_INTERNAL);
    assert_int_equal(status_from_name("ok"), STATUS_INTERNAL);
    assert_string_equal(status_name(STATUS_MAX_), "internal");
    assert_string_equal(status_name((enum status) - 1), "internal");
    assert_int_equal(status_http(STATUS_MAX_), 500);
}

static void errno_has_a_code_whatever_its_sign(void **state) {
    static const struct {
        int err;
        enum status status;
    } rows[] = {
        {0, STATUS_OK},
        {ENOENT, STATUS_NOT_FOUND},
        {ESRCH, STATUS_NOT_FOUND},
        {ENOTDIR, STATUS_WRONG_TYPE},
        {EISDIR, STATUS_WRONG_TYPE},
        {ELOOP, STATUS_WRONG_TYPE},
        {ENOEXEC, STATUS_WRONG_TYPE},
        {EACCES, STATUS_PERMISSION_DENIED},
        {EPERM, STATUS_PERMISSION_DENIED},
        {EEXIST, STATUS_ALREADY_EXISTS},
        {E2BIG, STATUS_TOO_LARGE},
        {ENOSPC, STATUS_NO_SPACE},
        {EDQUOT, STATUS_NO_SPACE},
        {EFBIG, STATUS_NO_SPACE},
        {EMFILE, STATUS_LIMIT_EXCEEDED},
        {ENOMEM, STATUS_LIMIT_EXCEEDED},
        {ENAMETOOLONG, STATUS_INVALID_REQUEST},
        {ETIMEDOUT, STATUS_TIMEOUT},
        {ECANCELED, STATUS_CANCELLED},
        {ENOSYS, STATUS_UNSUPPORTED},
        {EIO, STATUS_INTERNAL},
        {4095, STATUS_INTERNAL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(status_from_errno(rows[i].err), rows[i].status);
        assert_int_equal(status_from_errno(-rows[i].err), rows[i].status);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_of_the_protocol),
        cmocka_unit_test(what_is_not_known_is_internal),
        cmocka_unit_test(errno_has_a_code_whatever_its_sign),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
