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

enum { MANY = 20 };

static void end(const int *peers, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        close(peers[i]);
    while (apart_closing() > 0)
        usleep(1000); /* cmocka's alarm is the test runner's timeout */
}

/* A child that is made next would hold them too, and hang in its exec. */
static void test_the_numbers_are_free_at_once(void **state) {
    int fds[MANY], peers[MANY];
    for (int i = 0; i < MANY; i++)
        fds[i] = lingering(&peers[i]);
    close_apart(fds, MANY);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(fcntl(fds[i], F_GETFD), -1);
        assert_int_equal(errno, EBADF);
    }
    end(peers, MANY);
}

static void test_those_that_hang_are_counted(void **state) {
    int peer, fd = lingering(&peer), quick = dup(fd);
    assert_true(quick >= 0);
    close_apart(&quick, 1);
    while (apart_closing() > 0)
        usleep(1000);
    close_apart(&fd, 1);
    assert_int_equal(apart_closing(), 1);
    end(&peer, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_numbers_are_free_at_once),
        cmocka_unit_test(test_those_that_hang_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
