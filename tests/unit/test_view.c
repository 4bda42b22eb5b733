/* Reading a store: heads, rings that went around, and one that is overwritten meanwhile. */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/view.h"
#include "store_file.h"

static struct view open_view(const struct store_file *file) {
    struct view view = {0};

    assert_int_equal(view_open(file->fd, &view), 0);
    return view;
}

static void a_head_keeps_the_first_bytes(void **state) {
    struct store_file file = store_file_make(STORE_HEAD, 4, "facts", 5);
    struct view view = open_view(&file);
    struct slice bytes;

    store_file_write(&file, 1, "abcdef");
    assert_int_equal(view_end(&view, 0), 0);
    assert_int_equal(view_end(&view, 1), 6);
    assert_true(view_keeps_head(&view, 1));
    bytes = view_peek(&view, 1, 0, 6);
    assert_int_equal(bytes.len, 4);
    assert_memory_equal(bytes.data, "abcd", 4);
    assert_int_equal(view_peek(&view, 1, 5, 6).len, 0);
    view_close(&view);
    store_file_close(&file);
}

/* Where they are few they lie in the first page. */
static void facts_are_found_where_they_are(void **state) {
    static uint8_t room[LINK_FACTS_MAX];

    for (int small = 0; small < 2; small++) {
        struct store_file file = store_file_make(STORE_HEAD, 4096, "facts", 5);
        struct slice facts;

        if (small) {
            memcpy(file.head + 1, "small", 5);
            file.head->facts_at = sizeof(*file.head);
        }
        facts = view_read_facts(file.fd, room);
        assert_int_equal(facts.len, 5);
        assert_memory_equal(facts.data, small ? "small" : "facts", 5);
        store_file_close(&file);
    }
}

static void a_ring_goes_around(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4, "", 0);
    struct view view = open_view(&file);
    char out[8];

    store_file_write(&file, 0, "abcdef");
    assert_int_equal(view_oldest(&view, 0), 2);
    assert_int_equal(view_peek(&view, 0, 2, 6).len, 2); /* c d, then e f at the start */
    assert_int_equal(view_copy(&view, 0, 2, out, 4), 2);
    assert_memory_equal(out, "cdef", 4);
    view_close(&view);
    store_file_close(&file);
}

static void what_was_overwritten_is_not_believed(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4, "", 0);
    struct view view = open_view(&file);
    char out[8];

    store_file_write(&file, 0, "abcdef");
    assert_int_equal(view_copy(&view, 0, 0, out, 4), 2); /* a b are gone */
    assert_memory_equal(out + 2, "cd", 2);
    store_file_write(&file, 0, "ghijkl");
    assert_int_equal(view_copy(&view, 0, 2, out, 4), 6); /* none of it is there any more */
    view_close(&view);
    store_file_close(&file);
}

static void resting_loses_nothing(void **state) {
    struct store_file file = store_file_make(STORE_BLOCK, 4, "", 0);
    struct view view = open_view(&file);

    store_file_write(&file, 0, "ab");
    view_rest(&view);
    assert_memory_equal(view_peek(&view, 0, 0, 2).data, "ab", 2);
    assert_false(view_eof(&view, 0));
    file.head->ring[0].eof = 1;
    assert_true(view_eof(&view, 0));
    view_close(&view);
    store_file_close(&file);
}

static size_t pages_touched(const struct view *view) {
    char path[64], line[256];
    size_t kib = SIZE_MAX;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/smaps");
    file = fopen(path, "re");
    for (bool here = false; file && fgets(line, sizeof(line), file);) {
        uintptr_t from;

        if (sscanf(line, "%" SCNxPTR "-", &from) == 1 && strchr(line, '-') < line + 20)
            here = from == (uintptr_t)view->base;
        if (here && sscanf(line, "Rss: %zu", &kib) == 1)
            break;
    }
    fclose(file);
    return kib / 4;
}

/* Of a thousand records that are taken over, nobody may ever ask for one. */
static void one_that_has_ended_is_known_untouched(void **state) {
    struct store_file file = store_file_make(STORE_DROP, 4096, "", 0);
    struct view view = {0};

    for (int i = 0; i < 2000; i++)
        store_file_write(&file, 1, "abc");
    file.head->ring[0].eof = file.head->ring[1].eof = 1;
    assert_int_equal(view_open_ended(file.fd, &view), 0);
    assert_int_equal(view_end(&view, 1), 6000);
    assert_int_equal(view_oldest(&view, 1), 6000 - 4096);
    assert_int_equal(view_end(&view, 0), 0);
    assert_true(view_eof(&view, 0) && view_eof(&view, 1));
    assert_false(view_blocks(&view));
    assert_int_equal(pages_touched(&view), 0);
    assert_memory_equal(view_peek(&view, 1, 5997, 6000).data, "abc", 3);
    assert_true(pages_touched(&view) > 0);
    view_close(&view);
    store_file_close(&file);
}

/* Somebody still holds a pipe of a job that has exited. */
static void one_that_goes_on_is_looked_at_each_time(void **state) {
    struct store_file file = store_file_make(STORE_BLOCK, 4096, "", 0);
    struct view view = {0};

    file.head->ring[0].eof = 1;
    assert_int_equal(view_open_ended(file.fd, &view), 0);
    assert_false(view_eof(&view, 1));
    assert_true(view_blocks(&view));
    store_file_write(&file, 1, "abc");
    assert_int_equal(view_end(&view, 1), 3);
    view_close(&view);
    store_file_close(&file);
}

static void without_a_mapping_all_is_empty(void **state) {
    struct view view = {0};

    assert_int_equal(view_end(&view, 0), 0);
    assert_true(view_eof(&view, 1));
    assert_int_equal(view_peek(&view, 0, 0, 10).len, 0);
    view_close(&view);
}

/* A program's store is as old as the program: its supervisor may have been of another build. */
static void a_store_of_another_version_is_read(void **state) {
    struct store_file file = store_file_make(STORE_HEAD, 4096, "facts", 5);
    struct view view = {0};

    file.head->version = LINK_VERSION + 1;
    assert_int_equal(view_open(file.fd, &view), 0);
    view_close(&view);
    store_file_close(&file);
}

/* Each number that could lead out of the mapping. */
static void a_head_that_lies_is_refused(void **state) {
    for (int lie = 0; lie < 8; lie++) {
        struct store_file file = store_file_make(STORE_HEAD, 4096, "facts", 5);
        struct view view = {0};

        switch (lie) {
        case 0:
            file.head->magic++;
            break;
        case 1:
            file.head->version = LINK_LEAST - 1;
            break;
        case 2:
            file.head->facts_at = UINT64_MAX - 2;
            break;
        case 3:
            file.head->facts_len = LINK_FACTS_MAX + 1;
            break;
        case 4:
            file.head->facts_len = 6;
            break;
        case 5:
            file.head->ring[0].at = 8;
            break;
        case 6:
            file.head->ring[1].size = UINT64_MAX;
            break;
        case 7:
            assert_int_equal(ftruncate(file.fd, 16), 0);
            break;
        }
        assert_int_equal(view_open(file.fd, &view), -EBADMSG);
        assert_null(view.base);
        assert_int_equal(view_open_ended(file.fd, &view), -EBADMSG);
        assert_null(view.base);
        store_file_close(&file);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_keeps_the_first_bytes),
        cmocka_unit_test(facts_are_found_where_they_are),
        cmocka_unit_test(a_ring_goes_around),
        cmocka_unit_test(what_was_overwritten_is_not_believed),
        cmocka_unit_test(resting_loses_nothing),
        cmocka_unit_test(one_that_has_ended_is_known_untouched),
        cmocka_unit_test(one_that_goes_on_is_looked_at_each_time),
        cmocka_unit_test(without_a_mapping_all_is_empty),
        cmocka_unit_test(a_store_of_another_version_is_read),
        cmocka_unit_test(a_head_that_lies_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
