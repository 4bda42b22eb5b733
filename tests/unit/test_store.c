/* The store: what each mode keeps, and that nobody but the supervisor can write it. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"
#include "supervisor/store.h"

struct fixture {
    struct store store;
    int pipe[2];
};

static void begin(struct fixture *f, uint64_t size, uint32_t mode) {
    const uint64_t sizes[2] = {size, 100};
    const uint32_t modes[2] = {mode, STORE_HEAD};
    assert_int_equal(store_make(&f->store, sizes, modes, "facts", 5), 0);
    assert_int_equal(pipe2(f->pipe, O_NONBLOCK | O_CLOEXEC), 0);
    fcntl(f->pipe[0], F_SETPIPE_SZ, 1 << 20);
}

static void end(struct fixture *f) {
    store_deinit(&f->store);
    close(f->pipe[0]);
    if (f->pipe[1] >= 0)
        close(f->pipe[1]);
}

static void put(struct fixture *f, const char *text) {
    assert_int_equal(write(f->pipe[1], text, strlen(text)), strlen(text));
}

static void fill(struct fixture *f) {
    while (store_fill(&f->store, 0, f->pipe[0], 256 << 10, false) > 0)
        ;
}

static void check(struct fixture *f, const char *text, uint64_t from, uint64_t end_offset) {
    uint64_t got_from, got_end;
    char *got = rig_output(f->store.fd, 0, &got_from, &got_end);
    assert_string_equal(got, text);
    assert_int_equal(got_from, from);
    assert_int_equal(got_end, end_offset);
    free(got);
}

static void test_head_keeps_the_first(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_HEAD);
    put(&f, "012345");
    fill(&f);
    check(&f, "012345", 0, 6);
    put(&f, "6789abc");
    fill(&f);
    check(&f, "0123456789", 0, 13);
    assert_false(store_over(&f.store, 0));
    end(&f);
}

static void test_kill_tells_the_byte_over(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_KILL);
    put(&f, "0123456789");
    fill(&f);
    assert_false(store_over(&f.store, 0));
    put(&f, "a");
    fill(&f);
    assert_true(store_over(&f.store, 0));
    check(&f, "0123456789", 0, 11);
    end(&f);
}

static void test_drop_keeps_the_last(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_DROP);
    put(&f, "0123456789");
    fill(&f);
    check(&f, "0123456789", 0, 10);
    put(&f, "abc");
    fill(&f);
    check(&f, "3456789abc", 3, 13);
    put(&f, "the quick brown fox jumps");
    fill(&f);
    check(&f, " fox jumps", 28, 38);
    end(&f);
}

/* Nothing older is given up than what the new bytes need. */
static void test_drop_gives_up_no_more_than_comes(void **state) {
    struct fixture f;
    begin(&f, 4096, STORE_DROP);
    char block[4097];
    memset(block, 'x', 4096);
    block[4096] = 0;
    put(&f, block);
    fill(&f);
    put(&f, "y");
    fill(&f);
    assert_int_equal(f.store.head->ring[0].oldest, 1);
    end(&f);
}

static void test_block_waits_for_the_reader(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_BLOCK);
    put(&f, "0123456789abcdef");
    fill(&f);
    assert_true(store_full(&f.store, 0));
    check(&f, "0123456789", 0, 10);
    assert_int_equal(store_fill(&f.store, 0, f.pipe[0], 1000, false), -ENOBUFS);
    assert_false(store_ack(&f.store, 0, 11)); /* a lie: there aren't so many */
    assert_true(store_full(&f.store, 0));
    assert_true(store_ack(&f.store, 0, 4));
    fill(&f);
    check(&f, "456789abcd", 4, 14);
    assert_false(store_ack(&f.store, 0, 3)); /* backwards */
    assert_true(store_let_go(&f.store, 0));
    assert_false(store_let_go(&f.store, 0));
    fill(&f);
    check(&f, "6789abcdef", 6, 16);
    assert_int_equal(f.store.head->ring[0].mode, STORE_DROP);
    end(&f);
}

static void test_end(void **state) {
    const uint32_t modes[] = {STORE_HEAD, STORE_KILL, STORE_DROP, STORE_BLOCK};
    for (unsigned i = 0; i < 4; i++) {
        struct fixture f;
        begin(&f, 10, modes[i]);
        put(&f, "0123456789");
        fill(&f);
        if (modes[i] == STORE_BLOCK)
            store_ack(&f.store, 0, 10);
        assert_int_equal(f.store.head->ring[0].eof, 0);
        close(f.pipe[1]);
        f.pipe[1] = -1;
        assert_int_equal(store_fill(&f.store, 0, f.pipe[0], 1000, true), 0);
        assert_int_equal(f.store.head->ring[0].eof, 1);
        check(&f, "0123456789", 0, 10);
        end(&f);
    }
}

/* Random writes through a small ring: each byte is where its offset says. */
static void test_ring_offsets(void **state) {
    struct fixture f;
    begin(&f, 4099, STORE_DROP);
    srandom(3);
    uint64_t written = 0;
    for (int i = 0; i < 2000; i++) {
        unsigned char block[5000];
        size_t len = (size_t)(random() % (long)sizeof block) + 1;
        for (size_t j = 0; j < len; j++)
            block[j] = (unsigned char)((written + j) % 251);
        assert_int_equal(write(f.pipe[1], block, len), len);
        written += len;
        fill(&f);
        uint64_t oldest = f.store.head->ring[0].oldest;
        assert_int_equal(f.store.head->ring[0].end, written);
        assert_true(written - oldest <= 4099);
        const unsigned char *ring = (unsigned char *)f.store.head + f.store.head->ring[0].at;
        for (uint64_t at = oldest; at < written; at += 97)
            assert_int_equal(ring[at % 4099], at % 251);
    }
    end(&f);
}

static uint64_t blocks(const struct store *store) {
    struct stat stat;
    assert_int_equal(fstat(store->fd, &stat), 0);
    return (uint64_t)stat.st_blocks * 512 / STORE_PAGE;
}

/* What is counted is what the kernel holds, but for the first page of what may still come. */
static void test_pages(void **state) {
    static char block[300001];
    memset(block, 'x', 300000);
    struct fixture f;
    begin(&f, 100000, STORE_DROP);
    assert_int_equal(store_pages(&f.store), 3);
    assert_int_equal(blocks(&f.store), 1);
    assert_int_equal(store_fits(&f.store, 0), 4096);
    assert_int_equal(store_fits(&f.store, 1), SIZE_MAX); /* its page is all that it is */
    put(&f, "0123456789");
    fill(&f);
    assert_int_equal(store_fits(&f.store, 0), 4086);
    assert_int_equal(blocks(&f.store), 2);
    put(&f, block);
    fill(&f);
    assert_int_equal(store_fits(&f.store, 0), SIZE_MAX);
    assert_int_equal(store_channel_pages(&f.store, 0), 25);
    assert_int_equal(store_pages(&f.store), 27);
    assert_int_equal(blocks(&f.store), 26);
    store_end(&f.store, 1);
    assert_int_equal(store_pages(&f.store), 26);
    end(&f);
}

static void test_stops_growing(void **state) {
    struct fixture f;
    begin(&f, 100, STORE_DROP);
    put(&f, "0123456789");
    fill(&f);
    store_stop_growing(&f.store, 0);
    assert_int_equal(f.store.head->ring[0].size, 10);
    put(&f, "abc");
    fill(&f);
    check(&f, "3456789abc", 3, 13);
    store_stop_growing(&f.store, 0); /* nothing to stop */
    check(&f, "3456789abc", 3, 13);
    end(&f);
}

/* To a smaller memfd: the newest bytes at their offsets, and as much as before comes in. */
static void test_moves(void **state) {
    struct fixture f;
    begin(&f, 20, STORE_DROP);
    put(&f, "0123456789abcdefghijklm");
    fill(&f);
    check(&f, "3456789abcdefghijklm", 3, 23);
    int old = dup(f.store.fd);
    assert_int_equal(store_move(&f.store, (uint64_t[2]){7, 100}), 0);
    check(&f, "ghijklm", 16, 23);
    assert_int_equal(f.store.channel[1].size, 100);
    put(&f, "no");
    fill(&f);
    check(&f, "ijklmno", 18, 25);
    char facts[5];
    assert_int_equal(pread(f.store.fd, facts, 5, (off_t)f.store.head->facts_at), 5);
    assert_memory_equal(facts, "facts", 5);
    assert_int_equal(fcntl(f.store.fd, F_GETFD), FD_CLOEXEC);
    /* Who maps the old one reads on where it was. */
    uint64_t from;
    char *text = rig_output(old, 0, &from, NULL);
    assert_string_equal(text, "3456789abcdefghijklm");
    free(text);
    close(old);
    end(&f);
}

static void test_moves_at_every_fill(void **state) {
    for (uint64_t size = 1; size <= 20; size++) {
        for (unsigned written = 0; written <= 45; written++) {
            char text[64] = "";
            for (unsigned i = 0; i < written; i++)
                text[i] = (char)('A' + i);
            struct fixture f;
            begin(&f, 20, STORE_DROP);
            if (written > 0)
                put(&f, text);
            fill(&f);
            assert_int_equal(store_move(&f.store, (uint64_t[2]){size, 100}), 0);
            unsigned kept = written < size ? written : (unsigned)size;
            check(&f, text + written - kept, written - kept, written);
            end(&f);
        }
    }
}

/* Of a head a move keeps all or nothing. */
static void test_a_head_moves(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_HEAD);
    put(&f, "0123456789abc");
    fill(&f);
    assert_int_equal(store_move(&f.store, (uint64_t[2]){10, 100}), 0);
    check(&f, "0123456789", 0, 13);
    assert_int_equal(store_move(&f.store, (uint64_t[2]){0, 0}), 0);
    check(&f, "", 13, 13);
    put(&f, "def");
    fill(&f);
    check(&f, "", 16, 16);
    assert_int_equal(blocks(&f.store), 1);
    end(&f);
}

/* One that is at its end, and has nothing mapped, stays so. */
static void test_sheds_at_the_end(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_DROP);
    put(&f, "0123456789abc");
    fill(&f);
    store_end(&f.store, 0);
    store_end(&f.store, 1);
    store_rest(&f.store);
    assert_int_equal(store_move(&f.store, (uint64_t[2]){0, 0}), 0);
    assert_null(f.store.head);
    check(&f, "", 13, 13);
    assert_int_equal(store_pages(&f.store), 1);
    end(&f);
}

static void test_sealed(void **state) {
    struct fixture f;
    begin(&f, 10, STORE_HEAD);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, f.store.fd, 0),
                     MAP_FAILED);
    assert_int_equal(pwrite(f.store.fd, "x", 1, 0), -1);
    assert_int_equal(ftruncate(f.store.fd, 0), -1);
    assert_int_equal(fallocate(f.store.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096),
                     -1);
    void *read_only = mmap(NULL, 4096, PROT_READ, MAP_SHARED, f.store.fd, 0);
    assert_ptr_not_equal(read_only, MAP_FAILED);
    munmap(read_only, 4096);
    char facts[5];
    assert_int_equal(pread(f.store.fd, facts, 5, (off_t)f.store.head->facts_at), 5);
    assert_memory_equal(facts, "facts", 5);
    assert_int_equal(f.store.head->facts_len, 5);
    end(&f);
}

/* This process has the page in its page tables: proc_pid_pagemap(5), bit 63. */
static bool touched(const char *page) {
    uint64_t entry = 0;
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    assert_int_equal(
        pread(fd, &entry, sizeof entry, (off_t)((uintptr_t)page / 4096 * sizeof entry)),
        sizeof entry);
    close(fd);
    return entry >> 63;
}

/* Little output, and the end of a stream that never had any, leave the mapping of the whole alone:
 * what was touched is dear to unmap. What goes beyond the window lies where it should. */
static void test_little_output_stays_in_the_window(void **state) {
    const uint64_t sizes[2] = {1 << 20, 1 << 20};
    const uint32_t modes[2] = {STORE_HEAD, STORE_DROP};
    static char line[9];
    struct store store;
    int pipe[2];
    assert_int_equal(store_make(&store, sizes, modes, "facts", 5), 0);
    assert_int_equal(pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
    assert_int_equal(write(pipe[1], "a line\n", 7), 7);
    assert_int_equal(store_fill(&store, 0, pipe[0], 256 << 10, false), 7);
    assert_int_equal(store_fill(&store, 1, pipe[0], 256 << 10, false), -EAGAIN);
    assert_true(touched((char *)store.head + store.channel[0].at));
    for (unsigned c = 0; c < 2; c++)
        assert_false(touched(store.whole + store.channel[c].at));
    for (unsigned c = 0; c < 2; c++) {
        for (unsigned i = 0; i < 40000; i++) {
            snprintf(line, sizeof line, "%7u\n", i);
            assert_int_equal(write(pipe[1], line, 8), 8);
            if (i % 1000 == 999) {
                while (store_fill(&store, c, pipe[0], 256 << 10, false) > 0)
                    ;
            }
        }
    }
    close(pipe[1]);
    for (unsigned c = 0; c < 2; c++) {
        uint64_t from, end;
        assert_int_equal(store_fill(&store, c, pipe[0], 256 << 10, true), 0);
        char *got = rig_output(store.fd, c, &from, &end);
        assert_int_equal(from, 0);
        assert_int_equal(end, (c == 0 ? 7 : 0) + 320000);
        for (unsigned i = 0; i < 40000; i++) {
            snprintf(line, sizeof line, "%7u\n", i);
            assert_memory_equal(got + (c == 0 ? 7 : 0) + i * 8, line, 8);
        }
        free(got);
    }
    close(pipe[0]);
    store_deinit(&store);
}

/* Memory that can't be had at the first byte is said in the way of the mode, never as bytes that
 * nobody wrote. */
static void test_no_memory_for_the_first_byte(void **state) {
    for (uint32_t mode = STORE_HEAD; mode <= STORE_BLOCK; mode++) {
        const uint64_t sizes[2] = {1 << 20, 1 << 20};
        const uint32_t modes[2] = {mode, mode};
        struct store store;
        int pipe[2];
        assert_int_equal(store_make(&store, sizes, modes, "facts", 5), 0);
        assert_int_equal(pipe2(pipe, O_NONBLOCK | O_CLOEXEC), 0);
        assert_int_equal(write(pipe[1], "a line\n", 7), 7);
        char *page = store.whole + store.channel[1].at;
        assert_ptr_equal(
            mmap(page, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
            page); /* EFAULT, as from a kernel without a page */
        assert_int_equal(store_fill(&store, 1, pipe[0], 256 << 10, false), 7);
        const struct store_head *head = store.head;
        assert_int_equal(head->ring[1].end, 7);
        if (mode == STORE_HEAD || mode == STORE_KILL)
            assert_int_equal(head->ring[1].size, 0);
        else
            assert_int_equal(head->ring[1].oldest, 7);
        close(pipe[0]);
        close(pipe[1]);
        store_deinit(&store);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_keeps_the_first),
        cmocka_unit_test(test_kill_tells_the_byte_over),
        cmocka_unit_test(test_drop_keeps_the_last),
        cmocka_unit_test(test_drop_gives_up_no_more_than_comes),
        cmocka_unit_test(test_block_waits_for_the_reader),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_ring_offsets),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_stops_growing),
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_moves_at_every_fill),
        cmocka_unit_test(test_a_head_moves),
        cmocka_unit_test(test_sheds_at_the_end),
        cmocka_unit_test(test_sealed),
        cmocka_unit_test(test_little_output_stays_in_the_window),
        cmocka_unit_test(test_no_memory_for_the_first_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
