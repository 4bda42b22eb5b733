/* Paths: where they end, whatever symlinks lie on the way. */
#include "scratch.h"

#include "files/path.h"

static void the_last_component_is_the_name(void **state) {
    assert_string_equal(path_name("/"), "/");
    assert_string_equal(path_name("/a"), "a");
    assert_string_equal(path_name("/a/b.c"), "b.c");
    assert_int_equal(path_parent_len("/a/b"), 2);
    assert_int_equal(path_parent_len("/a"), 1);
    assert_int_equal(path_parent_len("/"), 1);
}

/* Finds it and says what it is called there, "" for a failure with errno set. */
static const char *found(const char *path, bool *ret_exists) {
    static char name[NAME_MAX + 1];
    struct place place;

    int r = place_find(path, &place);
    errno = -r;
    if (r < 0)
        return "";
    strcpy(name, place.name);
    *ret_exists = place.exists;
    place_deinit(&place);
    place_deinit(&place);
    return name;
}

static void a_final_symlink_is_followed(void **state) {
    bool is;

    make_dir("dir", 0755);
    make_file("dir/file", "x");
    assert_int_equal(symlink("dir", "d"), 0);
    assert_int_equal(symlink("d/file", "one"), 0);
    assert_int_equal(symlink(at("one"), "two"), 0);
    assert_string_equal(found(at("two"), &is), "file");
    assert_true(is);
    assert_string_equal(found(at("d/file"), &is), "file");
    assert_true(is);
    assert_string_equal(found(at("new"), &is), "new");
    assert_false(is);
}

static void a_dangling_symlink_leads_to_what_it_would_create(void **state) {
    struct place place;

    make_dir("dir", 0755);
    assert_int_equal(symlink("dir/new", "dangling"), 0);
    assert_int_equal(place_find(at("dangling"), &place), 0);
    assert_false(place.exists);
    assert_string_equal(place.name, "new");
    int fd = openat(place.dir, ".", O_PATH);
    struct stat a, b;
    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(stat("dir", &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    close(fd);
    place_deinit(&place);
}

static void what_leads_nowhere_is_an_error(void **state) {
    char long_name[300];
    bool is;

    assert_int_equal(symlink("loop", "loop"), 0);
    make_file("file", "x");
    found(at("loop"), &is);
    assert_int_equal(errno, ELOOP);
    found(at("none/file"), &is);
    assert_int_equal(errno, ENOENT);
    found(at("file/below"), &is);
    assert_int_equal(errno, ENOTDIR);
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    found(at(long_name), &is);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void a_magic_link_is_left_to_the_kernel(void **state) {
    struct place place;
    char path[64];

    int fd = open("gone", O_RDWR | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(unlink("gone"), 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    assert_int_equal(place_find(path, &place), 0);
    assert_true(place.magic);
    assert_true(place.exists);
    assert_true(S_ISREG(place.st.st_mode));
    place_deinit(&place);
    close(fd);
}

static void nothing_is_left_open(void **state) {
    const unsigned before = count_fds();
    bool is;

    make_file("file", "x");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("none/none", "nowhere"), 0);
    found(at("link"), &is);
    found(at("nowhere"), &is);
    found(at("none/none"), &is);
    found("/", &is);
    assert_int_equal(count_fds(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_component_is_the_name),
        cmocka_unit_test_setup_teardown(a_final_symlink_is_followed, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_dangling_symlink_leads_to_what_it_would_create,
                                        scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_leads_nowhere_is_an_error, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_magic_link_is_left_to_the_kernel, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(nothing_is_left_open, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
