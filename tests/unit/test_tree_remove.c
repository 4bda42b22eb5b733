/* Removing: all of a tree and nothing else. */
#define SCRATCH_IN_MEMORY /* many files: a disk would be measured */
#include "scratch.h"

#include <pthread.h>
#include <stdatomic.h>

#include "files/descent.h"
#include "files/files.h"
#include "files/tree_remove.h"

static _Atomic bool cancelled;

static int drop(const char *path, struct tree_removal *ret) {
    int r = tree_remove(path, &cancelled, ret);
    return r;
}

/* Removes and tells how many. */
static int removed(const char *path) {
    struct tree_removal removal;

    int r = drop(path, &removal);
    assert_int_equal(r, 0);
    assert_int_equal(removal.failed, 0);
    tree_removal_deinit(&removal);
    return (int)removal.removed;
}

static int refused(const char *path) {
    struct tree_removal removal;

    int r = drop(path, &removal);
    assert_int_equal(removal.removed, 0);
    tree_removal_deinit(&removal);
    return r;
}

static void a_tree_goes_whole(void **state) {
    make_dir("t", 0755);
    make_dir("t/a", 0755);
    make_dir("t/a/b", 0700);
    make_file("t/a/b/file", "x");
    make_file("t/a/\xff\n name", "x");
    assert_int_equal(mkfifo("t/fifo", 0600), 0);
    make_dir("t/empty", 0755);
    assert_int_equal(removed(at("t")), 7);
    assert_false(exists("t"));
    make_file("file", "x");
    assert_int_equal(removed(at("file")), 1);
    make_dir("dir", 0755);
    assert_int_equal(removed(at("dir")), 1);
    assert_int_equal(refused(at("none")), -ENOENT);
    assert_int_equal(refused(at("none/none")), -ENOENT);
}

static void symlinks_go_and_what_they_lead_to_stays(void **state) {
    make_dir("outside", 0755);
    make_file("outside/kept", "x");
    make_dir("t", 0755);
    assert_int_equal(symlink(at("outside"), "t/link"), 0);
    assert_int_equal(symlink("../outside/kept", "t/file"), 0);
    assert_int_equal(symlink("none", "t/dangling"), 0);
    assert_int_equal(removed(at("t")), 4);
    assert_int_equal(symlink("outside", "link"), 0);
    assert_int_equal(removed(at("link")), 1);
    assert_contents("outside/kept", "x");
    /* A leading symlink is followed as everywhere. */
    assert_int_equal(symlink("outside", "link"), 0);
    assert_int_equal(removed(at("link/kept")), 1);
    assert_int_equal(count_names("outside"), 0);
}

static void the_root_and_dots_are_refused(void **state) {
    make_dir("t", 0755);
    assert_int_equal(refused("/"), FILES_ROOT);
    assert_int_equal(refused(at("t/.")), FILES_DOT);
    assert_int_equal(refused(at("t/..")), FILES_DOT);
    assert_int_equal(refused("/.."), FILES_DOT);
    assert_true(exists("t"));
}

static void a_file_as_parent_is_no_directory(void **state) {
    make_file("file", "x");
    assert_int_equal(refused(at("file/x")), -ENOTDIR);
}

static int remove_around_mounts(void) {
    struct tree_removal removal;

    if (!own_mounts())
        return NO_NAMESPACE;
    if (mkdir("t", 0755) || mkdir("t/m", 0755) || mkdir("t/bound", 0755) || mkdir("src", 0755) ||
        mount("none", "t/m", "tmpfs", 0, NULL) || mount("src", "t/bound", NULL, MS_BIND, NULL))
        return 1;
    make_file("t/m/inside", "x");
    make_file("t/file", "x");
    make_file("src/kept", "x");
    if (tree_remove(at("t/m"), &cancelled, &removal) != FILES_MOUNT_POINT || removal.removed)
        return 2;
    if (tree_remove(at("t/bound"), &cancelled, &removal) != FILES_MOUNT_POINT || removal.removed)
        return 3;
    if (tree_remove(at("t"), &cancelled, &removal) != FILES_MOUNT_POINT)
        return 4;
    if (removal.removed != 1 || removal.failed != 2 || !removal.path)
        return 5;
    if (strncmp(removal.path, at("t/"), strlen(at("t/"))))
        return 6;
    tree_removal_deinit(&removal);
    if (!exists("t/m/inside") || !exists("t/bound/kept") || exists("t/file"))
        return 7;
    /* A file that something is mounted on. */
    make_file("over", "x");
    make_file("t/x", "x");
    if (mount("over", "t/x", NULL, MS_BIND, NULL))
        return 8;
    if (tree_remove(at("t/x"), &cancelled, &removal) != FILES_MOUNT_POINT || removal.removed)
        return 9;
    return 0;
}

static void mount_points_are_not_crossed(void **state) {
    need_root();
    int r = in_child(remove_around_mounts);
    if (r == NO_NAMESPACE)
        skip();
    assert_int_equal(r, 0);
}

static int remove_as_nobody(void) {
    struct tree_removal removal;

    if (identity_assume(nobody()) < 0)
        return 1;
    if (tree_remove(at("t"), &cancelled, &removal) != -EACCES)
        return 2;
    if (removal.removed != 2 || removal.failed != 1)
        return 3;
    if (!removal.path || strcmp(removal.path, at("t/closed/file")))
        return 4;
    tree_removal_deinit(&removal);
    return 0;
}

static void what_will_not_go_is_told_and_the_rest_goes(void **state) {
    need_root();
    make_dir("t", 0777);
    make_dir("t/closed", 0755); /* root's: its file can't be unlinked by others */
    make_file("t/closed/file", "x");
    make_dir("t/open", 0777);
    make_file("t/open/file", "x");
    assert_int_equal(in_child(remove_as_nobody), 0);
    assert_true(exists("t/closed/file"));
    assert_false(exists("t/open"));
}

static void depth_costs_neither_fds_nor_stack(void **state) {
    enum { DEPTH = 500 };
    const unsigned before = count_fds();

    make_dir("t", 0755);
    assert_int_equal(chdir("t"), 0);
    for (int i = 0; i < DEPTH; i++) {
        make_file("beside", "");
        make_file("behind", "");
        assert_int_equal(mkdir("directory-of-the-deep", 0755), 0);
        assert_int_equal(chdir("directory-of-the-deep"), 0);
    }
    assert_int_equal(chdir(scratch), 0);
    assert_int_equal(removed(at("t")), 3 * DEPTH + 1);
    assert_int_equal(count_fds(), before);
}

static void many_names_take_many_reads(void **state) {
    char name[64];

    make_dir("t", 0755);
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof(name), "t/a-name-that-fills-the-buffer-%d", i);
        if (i % 10)
            make_file(name, "");
        else
            make_dir(name, 0755);
    }
    assert_int_equal(removed(at("t")), 5001);
}

/* Large and wide enough that a second thread takes part. */
static void make_wide(const char *closed_or_null) {
    char name[64];

    make_dir("t", 0777);
    for (int i = 0; i < 60; i++) {
        snprintf(name, sizeof(name), "t/%d", i);
        make_dir(name, 0777);
        snprintf(name, sizeof(name), "t/%d/sub", i);
        make_dir(name, 0777);
        for (int j = 0; j < 40; j++) {
            snprintf(name, sizeof(name), "t/%d/%s%d", i, j % 2 ? "sub/" : "", j);
            make_file(name, "");
        }
        snprintf(name, sizeof(name), "t/%d/sub", i);
        if (closed_or_null && i % 10 == 0)
            assert_int_equal(chmod(name, 0755), 0);
    }
}

static void two_threads_count_as_one(void **state) {
    const unsigned before = count_fds();

    for (int i = 0; i < 5; i++) {
        make_wide(NULL);
        assert_int_equal(removed(at("t")), 1 + 60 * 42);
        assert_false(exists("t"));
    }
    assert_int_equal(count_fds(), before);
}

static int remove_wide_as_nobody(void) {
    struct tree_removal removal;

    if (identity_assume(nobody()) < 0)
        return 1;
    if (tree_remove(at("t"), &cancelled, &removal) != -EACCES)
        return 2;
    /* In six of the directories a folder is closed: its twenty files stay, it too, and what it is
     * in. */
    if (removal.failed != 6 * 20 || removal.removed != 60 * 42 - 6 * 22)
        return 3;
    if (!removal.path || !strstr(removal.path, "/sub/"))
        return 4;
    tree_removal_deinit(&removal);
    return 0;
}

static void two_threads_have_one_identity_and_tell_all(void **state) {
    need_root();
    for (int i = 0; i < 3; i++) {
        struct tree_removal removal;
        make_wide("closed");
        assert_int_equal(in_child(remove_wide_as_nobody), 0);
        assert_int_equal(count_names("t"), 6);
        drop(at("t"), &removal);
        tree_removal_deinit(&removal);
    }
}

static void a_flag_stops_it(void **state) {
    struct tree_removal removal;

    make_dir("t", 0755);
    make_file("t/file", "");
    atomic_store(&cancelled, true);
    assert_int_equal(drop(at("t"), &removal), FILES_CANCELLED);
    atomic_store(&cancelled, false);
    assert_int_equal(removal.removed, 0);
    tree_removal_deinit(&removal);
    assert_true(exists("t/file"));
}

/* Somebody swaps a directory for a symlink to the outside, again and again. */
static _Atomic bool over;

static void *swap(void *arg) {
    while (!atomic_load(&over)) {
        if (rename("t/sub", "parked") == 0 || mkdir("parked", 0755) == 0) {
            if (symlink("../outside", "t/sub") < 0 && errno != EEXIST && errno != ENOENT)
                return (void *)1;
            unlink("t/sub");
        }
        rename("parked", "t/sub");
        int fd = open("t/sub/file", O_WRONLY | O_CREAT, 0644);
        if (fd >= 0)
            close(fd);
    }
    return NULL;
}

static void a_swapped_directory_leads_nobody_out(void **state) {
    struct tree_removal removal;
    pthread_t thread;
    void *failed;

    make_dir("outside", 0755);
    make_file("outside/file", "kept");
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&thread, NULL, swap, NULL), 0);
    for (int i = 0; i < 300; i++) {
        mkdir("t", 0755);
        mkdir("t/sub", 0755);
        drop(at("t"), &removal);
        tree_removal_deinit(&removal);
    }
    atomic_store(&over, true);
    pthread_join(thread, &failed);
    assert_null(failed);
    assert_contents("outside/file", "kept");
}

/* The way up is checked: a directory moved elsewhere while the walk is below it must not lead to
 * its new parent. */
static void a_moved_directory_ends_the_walk(void **state) {
    struct descent way;
    char path[16 * DESCENT_FDS + 64] = "t";

    make_dir("t", 0755);
    make_dir("elsewhere", 0755);
    for (int i = 0; i < DESCENT_FDS + 4; i++) {
        strcat(path, "/d");
        make_dir(path, 0755);
    }
    assert_int_equal(descent_init(&way, open("t", O_RDONLY | O_DIRECTORY), "t"), 0);
    for (int i = 0; i < DESCENT_FDS + 4; i++)
        assert_int_equal(descent_down(&way, "d", true), 0);
    assert_int_equal(rename("t/d/d/d", "elsewhere/d"), 0);
    int r = 0;
    while (way.n > 1 && r == 0)
        r = descent_up(&way);
    assert_int_equal(r, -ESTALE);
    assert_true(way.n > 1);
    descent_deinit(&way);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_tree_goes_whole, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(symlinks_go_and_what_they_lead_to_stays, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(the_root_and_dots_are_refused, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_file_as_parent_is_no_directory, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(mount_points_are_not_crossed, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(what_will_not_go_is_told_and_the_rest_goes, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(depth_costs_neither_fds_nor_stack, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(many_names_take_many_reads, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(two_threads_count_as_one, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(two_threads_have_one_identity_and_tell_all, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_flag_stops_it, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(a_swapped_directory_leads_nobody_out, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_moved_directory_ends_the_walk, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
