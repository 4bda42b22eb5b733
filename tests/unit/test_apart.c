/* Closing apart: what is handed over is nobody else's any more, however long its closing takes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "lingering.h"
#include "supervisor/apart.h"

/* A child that is made next would hold it too, and hang in its exec. */
static void test_the_number_is_free_at_once(void **state) {
    int peer;
    for (int i = 0; i < 20; i++) {
        int fd = fcntl(lingering(&peer), F_DUPFD_CLOEXEC, 300 + i);
        close_apart(fd);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_int_equal(errno, EBADF);
    }
}

static void test_those_that_hang_are_counted(void **state) {
    int peer, fd = lingering(&peer);
    unsigned before = apart_closing();
    close_apart(fd);
    assert_int_equal(apart_closing(), before + 1);
    close(peer);
    while (apart_closing() != before)
        usleep(1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_number_is_free_at_once),
        cmocka_unit_test(test_those_that_hang_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
