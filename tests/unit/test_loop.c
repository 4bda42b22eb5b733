/* The supervisor's loop: what is removed is never called again, whoever removes it, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/loop.h"

#define SOURCES 8

struct fixture {
    struct loop loop;
    struct source source[SOURCES];
    int writer[SOURCES];
    struct deadline deadline;
    unsigned calls, turns;
};

static struct fixture *f;

static void remove_all(void) {
    for (unsigned i = 0; i < SOURCES; i++)
        loop_remove(&f->loop, &f->source[i]);
    f->loop.stop = true;
}

static void start(struct fixture *fixture) {
    f = fixture;
    memset(f, 0, sizeof *f);
    assert_int_equal(loop_init(&f->loop), 0);
    for (unsigned i = 0; i < SOURCES; i++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        f->source[i].fd = ends[0];
        f->writer[i] = ends[1];
        assert_int_equal(write(ends[1], "", 1), 1);
    }
}

static void end(void) {
    for (unsigned i = 0; i < SOURCES; i++) {
        close(f->source[i].fd);
        close(f->writer[i]);
    }
    close(f->loop.epoll_fd);
}

static void add_all(void (*ready)(struct source *source, uint32_t events)) {
    for (unsigned i = 0; i < SOURCES; i++) {
        f->source[i].ready = ready;
        assert_int_equal(loop_add(&f->loop, &f->source[i], EPOLLIN), 0);
    }
}

static void on_ready(struct source *source, uint32_t events) {
    f->calls++;
    remove_all();
}

/* By a source of the same batch. */
static void test_removed_by_another_source(void **state) {
    struct fixture fixture;
    start(&fixture);
    add_all(on_ready);
    loop_run(&f->loop);
    assert_int_equal(f->calls, 1);
    end();
}

static void on_deadline(struct deadline *deadline) {
    remove_all();
}

static void on_ready_again(struct source *source, uint32_t events) {
    f->calls++;
    if (f->calls == SOURCES) /* the first batch is over: the deadline comes before the second */
        deadline_arm(&f->loop.deadlines, &f->deadline, clock_now());
}

/* By a deadline, which fires between the wait and the batch. */
static void test_removed_by_a_deadline(void **state) {
    struct fixture fixture;
    start(&fixture);
    f->deadline.fire = on_deadline;
    add_all(on_ready_again);
    loop_run(&f->loop);
    assert_int_equal(f->calls, SOURCES);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_removed_by_another_source),
        cmocka_unit_test(test_removed_by_a_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
