/* Terminals: what the program is given, what it prints through one, and how one ends. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "rig.h"

static int start(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){0});
    *state = &rig;
    return 0;
}

static int start_forking(void **state) {
    static struct rig rig;
    rig_start(&rig, &(struct rig_options){.env = {"GUESTD_NO_CLONE3=1"}});
    *state = &rig;
    return 0;
}

static int stop(void **state) {
    return rig_stop(*state);
}

static uint64_t spawn(struct rig *rig, const char *script, struct link_spawn order) {
    order.flags |= LINK_SPAWN_PTY;
    order.rows = order.rows != 0 ? order.rows : 24;
    order.cols = order.cols != 0 ? order.cols : 80;
    return rig_shell(rig, script, order);
}

static void check(struct rig *rig, const char *script, struct link_spawn order, const char *out) {
    int store;
    uint64_t job = spawn(rig, script, order);
    rig_started(rig, job, &store);
    struct link_result result = rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, out);
    assert_int_equal(result.wait_status, 0);
    assert_int_equal(result.pipes_open, 0);
    free(text);
    close(store);
}

static void resize(struct rig *rig, uint64_t job, uint16_t rows, uint16_t cols) {
    struct link_resize order = {
        .h = {LINK_RESIZE, sizeof order}, .job = job, .rows = rows, .cols = cols};
    rig_send(rig, &order, sizeof order, NULL, 0);
}

static void type(struct rig *rig, uint64_t job, uint64_t off, const char *text) {
    struct {
        struct link_input head;
        char bytes[64];
    } order = {.head = {.job = job, .off = off, .len = (uint32_t)strlen(text)}};
    order.head.h = (struct link_header){LINK_INPUT, sizeof order.head + order.head.len};
    memcpy(order.bytes, text, order.head.len);
    rig_send(rig, &order, order.head.h.size, NULL, 0);
}

static const struct store_head *map(int store, size_t size) {
    const struct store_head *head = mmap(NULL, STORE_PAGE + size, PROT_READ, MAP_SHARED, store, 0);
    assert_ptr_not_equal(head, MAP_FAILED);
    return head;
}

static void unmap(const struct store_head *head, size_t size) {
    munmap((void *)(uintptr_t)head, STORE_PAGE + size);
}

static void test_is_stdin_stdout_and_stderr(void **state) {
    struct rig *rig = *state;
    check(rig, "test -t 0 && test -t 1 && test -t 2 && stty size", (struct link_spawn){0},
          "24 80\r\n");
    check(rig, "stty size", (struct link_spawn){.rows = 4096, .cols = 1}, "4096 1\r\n");
    check(rig, "stty -a | grep -o -- '[-]*iutf8'", (struct link_spawn){0}, "iutf8\r\n");
    check(rig, "echo out; echo err >&2", (struct link_spawn){0}, "out\r\nerr\r\n");
}

static void test_is_the_session_s_and_nobody_s_else(void **state) {
    struct rig *rig = *state;
    check(rig, "echo controlling >/dev/tty", (struct link_spawn){0}, "controlling\r\n");
    check(rig,
          "read -r pid name state ppid pgrp session tty tpgid rest </proc/self/stat; "
          "test $tty != 0 && test $tpgid = $$ && test $session = $$",
          (struct link_spawn){0}, "");
    check(rig, "ls /proc/self/fd", (struct link_spawn){0}, "0  1  2  3\r\n");
}

static void test_belongs_to_the_user(void **state) {
    struct rig *rig = *state;
    if (geteuid() != 0)
        skip();
    check(rig, "stat -c '%u %a' $(tty); echo other >$(tty)",
          (struct link_spawn){.flags = LINK_SPAWN_SET_USER, .uid = 65534, .gid = 65534},
          "65534 620\r\nother\r\n");
}

static void test_second_channel_is_at_its_end(void **state) {
    struct rig *rig = *state;
    int store;
    rig_started(rig, spawn(rig, "sleep 60", (struct link_spawn){0}), &store);
    const struct store_head *head = map(store, 64 << 10);
    assert_int_equal(head->ring[1].eof, 1);
    assert_int_equal(head->ring[1].size, 0);
    assert_int_equal(head->ring[0].eof, 0);
    unmap(head, 64 << 10);
    close(store);
}

/* Reads a BLOCK job as the agent does, every byte of it. */
static uint64_t follow(struct rig *rig, uint64_t job, const struct store_head *head,
                       uint64_t *ret_wrong) {
    const struct store_ring *ring = &head->ring[0];
    uint64_t seen[2] = {0, 0};
    for (;;) {
        bool eof = atomic_load(&ring->eof) != 0;
        uint64_t end = atomic_load(&ring->end);
        for (; seen[0] < end; seen[0]++) {
            char byte = ((const char *)head)[ring->at + seen[0] % ring->size];
            *ret_wrong += byte != "0123456789abcde\n"[seen[0] % 16];
        }
        if (eof)
            return end;
        rig_look(rig, job, seen, seen, LINK_LOOK_ARM);
        rig_expect(rig, LINK_OUTPUT, job, NULL);
    }
}

/* 10 MB, in raw mode, byte by byte. */
static void test_loses_nothing(void **state) {
    struct rig *rig = *state;
    enum { SIZE = 100000, BYTES = 10 << 20 };
    int store;
    uint64_t job = spawn(rig, "stty raw; yes 0123456789abcde | head -c 10485760",
                         (struct link_spawn){.store[0] = {.size = SIZE, .mode = STORE_BLOCK}});
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, SIZE);
    uint64_t wrong = 0;
    assert_int_equal(follow(rig, job, head, &wrong), BYTES);
    assert_int_equal(wrong, 0);
    assert_int_equal(rig_exited(rig, job).reason, LINK_REASON_EXITED);
    unmap(head, SIZE);
    close(store);
}

/* Also what is still on its way inside the kernel when the program ends, whatever a ring does. */
static void test_last_words_come(void **state) {
    struct rig *rig = *state;
    static const enum store_mode modes[] = {STORE_HEAD, STORE_DROP};
    for (int i = 0; i < 100; i++) {
        int store;
        uint64_t end;
        struct link_spawn order = {.store[0] = {.size = 1000, .mode = modes[i % 2]}};
        uint64_t job = spawn(rig, "stty raw; head -c 9000 /dev/zero; exec printf end", order);
        rig_started(rig, job, &store);
        assert_int_equal(rig_exited(rig, job).pipes_open, 0);
        free(rig_output(store, 0, NULL, &end));
        assert_int_equal(end, 9003);
        close(store);
    }
}

/* What a full ring leaves in the terminal at the exit is waited for, as long as the reader takes.
 */
static void test_exit_waits_for_the_reader(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "stty raw; exec head -c 12000 /dev/zero",
                         (struct link_spawn){.store[0] = {.size = 5000, .mode = STORE_BLOCK}});
    uint64_t seen[2] = {5000, 0};
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, 5000);
    rig_until(atomic_load(&head->ring[0].end) == 5000);
    assert_false(rig_comes(rig, LINK_EXITED, job, 500));
    rig_look(rig, job, seen, seen, 0);
    rig_until(atomic_load(&head->ring[0].end) == 10000);
    assert_false(rig_comes(rig, LINK_EXITED, job, 500));
    seen[0] = 10000;
    rig_look(rig, job, seen, seen, 0);
    rig_exited(rig, job);
    assert_int_equal(atomic_load(&head->ring[0].end), 12000);
    assert_int_equal(atomic_load(&head->ring[0].eof), 1);
    unmap(head, 5000);
    close(store);
}

static void test_resize_tells_the_foreground(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "trap 'stty size; exit' WINCH; echo; while :; do sleep 0.01; done",
                         (struct link_spawn){0});
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, 64 << 10);
    rig_until(atomic_load(&head->ring[0].end) == 2);
    resize(rig, job, 0, 10); /* no size */
    resize(rig, job, 50, 132);
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "\r\n50 132\r\n");
    free(text);
    unmap(head, 64 << 10);
    close(store);
}

static void test_what_is_typed_arrives(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig, "read -r line; echo \"<$line>\"; read -r line || echo end",
                         (struct link_spawn){0});
    rig_started(rig, job, &store);
    type(rig, job, 0, "hellx\177o\n");
    type(rig, job, 8, "\4");
    rig_exited(rig, job);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "hellx\b \bo\r\n<hello>\r\nend\r\n");
    free(text);
    close(store);
}

/* Clock ticks of CPU that the process has used. */
static unsigned long ticks(pid_t pid) {
    char path[64], text[1024];
    unsigned long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t len = fread(text, 1, sizeof text - 1, file);
    text[len] = 0;
    fclose(file);
    assert_int_equal(sscanf(strrchr(text, ')'),
                            ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
                            &system),
                     2);
    return user + system;
}

/* A program that closes its terminal lives on; nobody spins for it, typed bytes that nobody takes
 * or not; and it may open the terminal again, and finds them there. */
static void test_closed_and_opened_again(void **state) {
    struct rig *rig = *state;
    int store, at[2];
    char script[200], byte;
    assert_int_equal(pipe(at), 0);
    snprintf(
        script, sizeof script,
        "stty raw -echo; printf 1; tty=$(tty); exec </proc/%d/fd/%d >/dev/null 2>&1; "
        "read -r go; printf 2 >/dev/tty; head -c 64000 <$tty | cksum >$tty; exec printf 3 >$tty",
        (int)getpid(), at[0]);
    uint64_t job = spawn(rig, script, (struct link_spawn){0});
    pid_t pid = rig_started(rig, job, &store).pid;
    const struct store_head *head = map(store, 64 << 10);
    rig_until(atomic_load(&head->ring[0].end) == 1);
    char fds[64], target[64];
    snprintf(fds, sizeof fds, "/proc/%d/fd/2", (int)pid);
    ssize_t len = 0;
    rig_until((len = readlink(fds, target, sizeof target)) == 9 && !memcmp(target, "/dev/null", 9));
    uint64_t off = 0;
    for (int i = 0; i < 2000; i++, off += 32)
        type(rig, job, off, "0123456789abcdef0123456789abcdef");
    unsigned long before = ticks(rig->supervisor);
    assert_false(rig_comes(rig, LINK_EXITED, job, 1000));
    assert_true(ticks(rig->supervisor) - before < (unsigned long)sysconf(_SC_CLK_TCK) / 4);
    byte = '\n';
    assert_int_equal(write(at[1], &byte, 1), 1);
    assert_int_equal(rig_exited(rig, job).wait_status, 0);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "12198073243 64000\n3");
    free(text);
    unmap(head, 64 << 10);
    close(store);
    close(at[0]), close(at[1]);
}

/* The session's end hangs the terminal up; who still has it open counts. */
static void test_who_holds_it_is_told(void **state) {
    struct rig *rig = *state;
    uint64_t job = spawn(rig,
                         "trap 'exit 0' USR1; "
                         "(trap '' HUP; kill -USR1 $$; exec sleep 60) & wait",
                         (struct link_spawn){0});
    rig_started(rig, job, NULL);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.pipes_open, 1);
    assert_int_equal(result.descendants, 1);
}

/* SIGTERM alone doesn't end a shell at its terminal. */
static void test_ending_hangs_up(void **state) {
    struct rig *rig = *state;
    int store;
    uint64_t job = spawn(rig,
                         "trap '' TERM; trap 'printf hung-up; exit 3' HUP; "
                         "sh -c 'printf 1; exec sleep 60' & wait",
                         (struct link_spawn){.grace_ms = 15000});
    rig_started(rig, job, &store);
    const struct store_head *head = map(store, 64 << 10);
    rig_until(atomic_load(&head->ring[0].end) == 1);
    rig_ref(rig, LINK_CANCEL, job);
    struct link_result result = rig_exited(rig, job);
    assert_int_equal(result.reason, LINK_REASON_CANCELLED);
    assert_int_equal(WEXITSTATUS(result.wait_status), 3);
    char *text = rig_output(store, 0, NULL, NULL);
    assert_string_equal(text, "1hung-up");
    free(text);
    unmap(head, 64 << 10);
    close(store);
}

static void test_orders_that_make_no_sense(void **state) {
    struct rig *rig = *state;
    struct link_spawn orders[] = {
        {.flags = LINK_SPAWN_PTY, .cols = 80},
        {.flags = LINK_SPAWN_PTY, .rows = 24},
        {.flags = LINK_SPAWN_PTY, .rows = 24, .cols = 80, .store[1] = {.size = 10}},
    };
    for (unsigned i = 0; i < sizeof orders / sizeof *orders; i++) {
        uint64_t job = rig_shell(rig, ":", orders[i]);
        assert_int_equal(rig_expect(rig, LINK_SPAWNED, job, NULL).spawned.err, EINVAL);
    }
    uint64_t pipes = rig_shell(rig, "sleep 60", (struct link_spawn){0});
    rig_started(rig, pipes, NULL);
    resize(rig, pipes, 24, 80);
    resize(rig, 12345, 24, 80);
    check(rig, "echo on", (struct link_spawn){0}, "on\r\n");
}

#define EACH(NAME) cmocka_unit_test(test_##NAME)

int main(void) {
    const struct CMUnitTest tests[] = {
        EACH(is_stdin_stdout_and_stderr),
        EACH(is_the_session_s_and_nobody_s_else),
        EACH(belongs_to_the_user),
        EACH(second_channel_is_at_its_end),
        EACH(loses_nothing),
        EACH(last_words_come),
        EACH(exit_waits_for_the_reader),
        EACH(resize_tells_the_foreground),
        EACH(what_is_typed_arrives),
        EACH(closed_and_opened_again),
        EACH(who_holds_it_is_told),
        EACH(ending_hangs_up),
        EACH(orders_that_make_no_sense),
    };
    const struct CMUnitTest forking[] = {
        EACH(is_stdin_stdout_and_stderr),
        EACH(is_the_session_s_and_nobody_s_else),
        EACH(last_words_come),
    };
    int failed = cmocka_run_group_tests_name("terminal", tests, start, stop);
    return failed + cmocka_run_group_tests_name("terminal, forking", forking, start_forking, stop);
}
