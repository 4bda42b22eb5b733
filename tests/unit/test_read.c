/* Reading: regular files only, from any place to the true end. */
#include "scratch.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "files/files.h"
#include "files/read.h"

static int opened(const char *path) {
    uint64_t size;
    int fd;

    int r = read_open(path, &fd, &size);
    if (fd >= 0)
        close(fd);
    assert_true((r == 0) == (fd >= 0));
    return r;
}

static void only_regular_files_are_opened(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};
    const unsigned before = count_fds();

    make_file("file", "x");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("/dev/zero", "zero"), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_int_equal(opened("file"), 0);
    assert_int_equal(opened("link"), 0);
    assert_int_equal(opened("fifo"), FILES_NOT_REGULAR);
    assert_int_equal(opened("socket"), FILES_NOT_REGULAR);
    assert_int_equal(opened("/dev/zero"), FILES_NOT_REGULAR);
    assert_int_equal(opened("zero"), FILES_NOT_REGULAR);
    assert_int_equal(opened("."), -EISDIR);
    assert_int_equal(opened("none"), -ENOENT);
    assert_int_equal(opened("file/x"), -ENOTDIR);
    assert_int_equal(count_fds(), before);
}

static void the_end_is_told(void **state) {
    char out[16];
    uint64_t size;
    size_t len;
    bool eof;
    int fd;

    make_file("file", "12345");
    assert_int_equal(read_open("file", &fd, &size), 0);
    assert_int_equal(size, 5);
    assert_int_equal(read_at(fd, 0, out, 4, &len, &eof), 0);
    assert_int_equal(len, 4);
    assert_false(eof);
    assert_int_equal(read_at(fd, 0, out, 5, &len, &eof), 0);
    assert_int_equal(len, 5);
    assert_true(eof);
    assert_int_equal(read_at(fd, 2, out, 16, &len, &eof), 0);
    assert_int_equal(len, 3);
    assert_memory_equal(out, "345", 3);
    assert_true(eof);
    assert_int_equal(read_at(fd, 99, out, 16, &len, &eof), 0);
    assert_int_equal(len, 0);
    assert_true(eof);
    assert_int_equal(read_at(fd, INT64_MAX, out, 16, &len, &eof), 0);
    assert_int_equal(len, 0);
    assert_true(eof);
    assert_int_equal(read_at(fd, 0, out, 0, &len, &eof), 0);
    assert_int_equal(len, 0);
    assert_false(eof);
    close(fd);
}

static void a_file_without_a_size_has_an_end(void **state) {
    char out[4096];
    uint64_t size;
    size_t len;
    bool eof;
    int fd;

    assert_int_equal(read_open("/proc/self/status", &fd, &size), 0);
    assert_int_equal(size, 0);
    assert_int_equal(read_at(fd, 0, out, sizeof(out), &len, &eof), 0);
    assert_true(len > 100);
    assert_true(eof);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_regular_files_are_opened, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(the_end_is_told, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_file_without_a_size_has_an_end, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
