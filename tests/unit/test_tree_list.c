/* Listing: the order, the depth, names of any bytes, and trees that change or refuse. */
#include "scratch.h"

#include "files/sort.h"
#include "files/tree_list.h"
#include "files/tree_remove.h"

/* All paths below the scratch folder, one a line. */
static const char *listed(const char *path, uint64_t depth, int *ret) {
    static char text[1 << 16];
    struct tree_list list;
    struct entry entry;
    size_t len = 0;

    text[0] = '\0';
    int r = tree_list_open(&list, path, depth);
    if (r == 0)
        while ((r = tree_list_next(&list, &entry)) == 1)
            len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\n",
                                    entry.path + strlen(scratch));
    tree_list_close(&list);
    tree_list_close(&list);
    *ret = r;
    return text;
}

static void make_tree(void) {
    make_dir("t", 0755);
    make_dir("t/b", 0755);
    make_dir("t/b/deep", 0755);
    make_file("t/b/deep/x", "");
    make_file("t/a", "");
    make_file("t/b.c", "");
    make_file("t/B", "");
    make_file("t/b\xff", "");
    make_file("t/b/1", "");
    assert_int_equal(symlink("b", "t/link"), 0);
}

static void depth_says_how_far(void **state) {
    int r;

    make_tree();
    assert_string_equal(listed(at("t"), 0, &r), "/t\n");
    assert_int_equal(r, 0);
    assert_string_equal(listed(at("t"), 1, &r), "/t/B\n/t/a\n/t/b\n/t/b.c\n/t/b\xff\n/t/link\n");
    assert_int_equal(r, 0);
    assert_string_equal(listed(at("t"), 2, &r),
                        "/t/B\n/t/a\n/t/b\n/t/b/1\n/t/b/deep\n/t/b.c\n/t/b\xff\n/t/link\n");
    const char *all =
        "/t/B\n/t/a\n/t/b\n/t/b/1\n/t/b/deep\n/t/b/deep/x\n/t/b.c\n/t/b\xff\n/t/link\n";
    assert_string_equal(listed(at("t"), 3, &r), all);
    assert_string_equal(listed(at("t"), UINT64_MAX, &r), all);
}

static void the_path_itself_may_be_a_symlink(void **state) {
    int r;

    make_tree();
    assert_string_equal(listed(at("t/link"), 1, &r), "/t/link/1\n/t/link/deep\n");
    assert_string_equal(listed(at("t/link"), 0, &r), "/t/link\n");
    assert_int_equal(r, 0);
}

static void what_is_no_directory_has_no_names(void **state) {
    int r;

    make_tree();
    assert_int_equal(mkfifo("fifo", 0600), 0);
    listed(at("t/a"), 1, &r);
    assert_int_equal(r, -ENOTDIR);
    listed(at("fifo"), 1, &r);
    assert_int_equal(r, -ENOTDIR);
    assert_string_equal(listed(at("t/a"), 0, &r), "/t/a\n");
    assert_int_equal(r, 0);
    listed(at("none"), 1, &r);
    assert_int_equal(r, -ENOENT);
    listed(at("none"), 0, &r);
    assert_int_equal(r, -ENOENT);
}

static void the_root_has_one_slash(void **state) {
    struct tree_list list;
    struct entry entry;

    assert_int_equal(tree_list_open(&list, "/", 1), 0);
    assert_int_equal(tree_list_next(&list, &entry), 1);
    assert_int_equal(entry.path[0], '/');
    assert_string_equal(entry.path + 1, entry.name);
    tree_list_close(&list);
}

static void what_vanishes_meanwhile_is_passed_over(void **state) {
    struct tree_list list;
    struct entry entry;

    make_tree();
    assert_int_equal(tree_list_open(&list, at("t"), 9), 0);
    assert_int_equal(unlink("t/a"), 0);
    assert_int_equal(tree_list_next(&list, &entry), 1);
    assert_string_equal(entry.name, "B");
    assert_int_equal(tree_list_next(&list, &entry), 1);
    assert_string_equal(entry.name, "b");
    /* It becomes a symlink between being told and being entered: not followed. */
    assert_int_equal(rename("t/b", "away"), 0);
    assert_int_equal(symlink("../away", "t/b"), 0);
    assert_int_equal(tree_list_next(&list, &entry), 1);
    assert_string_equal(entry.name, "b.c");
    tree_list_close(&list);
}

static int list_as_nobody(void) {
    int r;

    if (identity_assume(nobody()) < 0)
        return 1;
    const char *text = listed(at("t"), 9, &r);
    if (r != 0 || strcmp(text, "/t/B\n/t/a\n/t/b\n/t/b.c\n/t/b\xff\n/t/link\n"))
        return 2;
    listed(at("t/b"), 1, &r);
    return r == -EACCES ? 0 : 3;
}

static void what_may_not_be_read_is_told_without_what_is_in_it(void **state) {
    need_root();
    make_tree();
    assert_int_equal(chmod("t/b", 0700), 0);
    assert_int_equal(in_child(list_as_nobody), 0);
}

/* Deeper than paths and open files reach. */
static void depth_costs_neither_fds_nor_stack(void **state) {
    enum { DEPTH = 500 };
    struct tree_list list;
    struct entry entry;
    unsigned n = 0, most = 0;

    int here = open(".", O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < DEPTH; i++) {
        assert_int_equal(mkdir("directory-of-the-deep", 0755), 0);
        assert_int_equal(chdir("directory-of-the-deep"), 0);
    }
    assert_int_equal(fchdir(here), 0);
    close(here);
    const unsigned before = count_fds();
    assert_int_equal(tree_list_open(&list, at(""), UINT64_MAX), 0);
    int r;
    while ((r = tree_list_next(&list, &entry)) == 1) {
        if (++n % 100 == 0)
            most = count_fds() > most ? count_fds() : most;
        assert_string_equal(entry.name, "directory-of-the-deep");
    }
    assert_int_equal(r, 0);
    assert_int_equal(n, DEPTH);
    assert_true(most <= before + DESCENT_FDS + 2);
    tree_list_close(&list);
    assert_int_equal(count_fds(), before);
    const _Atomic bool go_on = false;
    struct tree_removal removal;
    assert_int_equal(tree_remove(at("directory-of-the-deep"), &go_on, &removal), 0);
}

/* Wide at each of many levels, so that the way up reopens directories that were given back. */
static void the_way_up_goes_on_where_it_was(void **state) {
    enum { DEPTH = 3 * DESCENT_FDS };
    char path[8 * DEPTH + 64] = ".";
    struct tree_list list;
    struct entry entry;
    unsigned n = 0;

    for (int i = 0; i < DEPTH; i++) {
        char name[sizeof(path) + 8];
        snprintf(name, sizeof(name), "%s/a", path);
        make_file(name, "");
        snprintf(name, sizeof(name), "%s/z", path);
        make_file(name, "");
        strcat(path, "/m");
        make_dir(path, 0755);
    }
    assert_int_equal(tree_list_open(&list, at(""), UINT64_MAX), 0);
    while (tree_list_next(&list, &entry) == 1) {
        const char want = n < 2 * DEPTH ? (n % 2 ? 'm' : 'a') : 'z';
        assert_int_equal(entry.name[0], want);
        n++;
    }
    tree_list_close(&list);
    assert_int_equal(n, 3 * DEPTH);
}

static int by_bytes(const void *a, const void *b) {
    return strcmp(((const struct sort_name *)a)->name, ((const struct sort_name *)b)->name);
}

static void sorting_agrees_with_strcmp(void **state) {
    enum { N = 20000 };
    static char text[N][32];
    static struct sort_name ours[N], theirs[N];
    uint32_t seed = 1;

    for (unsigned kind = 0; kind < 4; kind++) {
        for (unsigned i = 0; i < N; i++) {
            seed = seed * 1664525 + 1013904223;
            if (kind == 0)
                snprintf(text[i], sizeof(text[i]), "file-with-a-long-prefix-%06u", i * 7919 % N);
            else if (kind == 1)
                snprintf(text[i], sizeof(text[i]), "%x", i);
            else if (kind == 2)
                snprintf(text[i], sizeof(text[i]), "%c%c%x", 1 + seed % 255,
                         128 + (seed >> 8) % 100, i);
            else
                snprintf(text[i], sizeof(text[i]), "%.*s%u", (int)(seed >> 8) % 17,
                         "aaaaaaaaaaaaaaaaa", i);
            ours[i].name = theirs[i].name = text[i];
        }
        sort_names(ours, N, 42);
        qsort(theirs, N, sizeof(*theirs), by_bytes);
        for (unsigned i = 0; i < N; i++)
            assert_string_equal(ours[i].name, theirs[i].name);
    }
    sort_names(ours, 0, 1);
    sort_names(ours, 1, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(depth_says_how_far, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(the_path_itself_may_be_a_symlink, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(what_is_no_directory_has_no_names, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(the_root_has_one_slash, scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(what_vanishes_meanwhile_is_passed_over, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(what_may_not_be_read_is_told_without_what_is_in_it,
                                        scratch_setup, scratch_teardown),
        cmocka_unit_test_setup_teardown(depth_costs_neither_fds_nor_stack, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(the_way_up_goes_on_where_it_was, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(sorting_agrees_with_strcmp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
