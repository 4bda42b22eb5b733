/* mkdir -p: modes, owners, and what may be in the way. */
#include "scratch.h"

#include "files/tree_mkdir.h"

static int make(const char *path, bool parents, bool *created) {
    const struct tree_mkdir request = {.path = path, .mode = 0755, .parents = parents};

    int fd = tree_mkdir(&request, created);
    if (fd >= 0)
        close(fd);
    return fd < 0 ? fd : 0;
}

static void missing_parents_are_made(void **state) {
    bool created;

    assert_int_equal(make(at("a/b/c"), true, &created), 0);
    assert_true(created);
    assert_int_equal(mode_of("a"), 0755);
    assert_int_equal(mode_of("a/b"), 0755);
    assert_int_equal(mode_of("a/b/c"), 0755);
    assert_int_equal(make(at("a/b/c"), true, &created), 0);
    assert_false(created);
    assert_int_equal(make(at("x/y"), false, &created), -ENOENT);
    assert_false(exists("x"));
    assert_int_equal(make(at("x"), false, &created), 0);
    assert_true(created);
    assert_int_equal(make("/", true, &created), 0);
    assert_false(created);
}

static void the_mode_is_exact(void **state) {
    static const mode_t modes[] = {0, 0700, 0777, 01777, 02755, 0444};
    struct tree_mkdir request = {.has_mode = true, .parents = true};
    char name[32];
    bool created;

    for (unsigned i = 0; i < sizeof(modes) / sizeof(*modes); i++) {
        snprintf(name, sizeof(name), "p%u/d", i);
        request.path = at(name);
        request.mode = modes[i];
        int fd = tree_mkdir(&request, &created);
        assert_true(fd >= 0);
        close(fd);
        assert_int_equal(mode_of(name), modes[i]);
        snprintf(name, sizeof(name), "p%u", i);
        assert_int_equal(mode_of(name), 0755);
    }
    /* An existing one keeps its own. */
    request.mode = 0711;
    request.path = at("p0");
    int fd = tree_mkdir(&request, &created);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(mode_of("p0"), 0755);
}

static void set_group_id_is_handed_down(void **state) {
    bool created;

    need_root();
    make_dir("shared", 02775);
    assert_int_equal(chown("shared", 0, 4242), 0);
    assert_int_equal(chmod("shared", 02775), 0);
    assert_int_equal(make(at("shared/a/b"), true, &created), 0);
    assert_int_equal(mode_of("shared/a/b"), 02755);
    struct stat st;
    assert_int_equal(stat("shared/a/b", &st), 0);
    assert_int_equal(st.st_gid, 4242);
}

static void a_file_in_the_way_is_the_wrong_type(void **state) {
    bool created;

    make_file("file", "x");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("none", "dangling"), 0);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(make(at("file"), true, &created), -ENOTDIR);
    assert_int_equal(make(at("link"), true, &created), -ENOTDIR);
    assert_int_equal(make(at("fifo"), true, &created), -ENOTDIR);
    assert_int_equal(make(at("file/a"), true, &created), -ENOTDIR);
    /* Below what is made no symlink is followed, and a dangling one leads to nothing that is. */
    assert_int_equal(make(at("dangling/a"), true, &created), -ENOTDIR);
    assert_false(exists("none"));
}

static void leading_symlinks_are_followed(void **state) {
    bool created;

    make_dir("dir", 0755);
    assert_int_equal(symlink("dir", "link"), 0);
    assert_int_equal(make(at("link/a/b"), true, &created), 0);
    assert_true(exists("dir/a/b"));
    assert_int_equal(make(at("link"), true, &created), 0);
    assert_false(created);
    assert_int_equal(make(at("new/../beside"), true, &created), 0);
    assert_true(exists("new"));
    assert_true(exists("beside"));
}

static int make_as_nobody(void) {
    struct stat st;
    bool created;

    if (identity_assume(nobody()) < 0)
        return 1;
    if (make(at("open/a/b"), true, &created) != 0)
        return 2;
    if (make(at("closed/a"), true, &created) != -EACCES)
        return 3;
    identity_restore();
    if (stat("open/a", &st) < 0 || st.st_uid != 65534 || st.st_gid != 65534)
        return 4;
    if (stat("open/a/b", &st) < 0 || st.st_uid != 65534 || st.st_gid != 65534)
        return 5;
    return 0;
}

static void what_is_made_belongs_to_who_made_it(void **state) {
    need_root();
    make_dir("open", 0777);
    make_dir("closed", 0755);
    assert_int_equal(in_child(make_as_nobody), 0);
}

static void nothing_is_left_open(void **state) {
    const unsigned before = count_fds();
    char name[300] = "x/";
    bool created;

    make_file("file", "x");
    memset(name + 2, 'n', sizeof(name) - 3);
    assert_int_equal(make(at(name), true, &created), -ENAMETOOLONG);
    make(at("a/b"), true, &created);
    make(at("file/b"), true, &created);
    make(at("file"), true, &created);
    assert_int_equal(count_fds(), before);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(missing_parents_are_made, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(the_mode_is_exact, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(set_group_id_is_handed_down, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_file_in_the_way_is_the_wrong_type, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(leading_symlinks_are_followed, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(what_is_made_belongs_to_who_made_it, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(nothing_is_left_open, scratch_setup, scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
