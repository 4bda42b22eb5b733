/* The supervisor's state as bytes: what was written is read, from layouts older and newer than ours
 * too, and nothing that is broken is believed. */
#include <errno.h>

#include "golden.h"
#include "supervisor/saved.h"
#include "version.h"

static struct golden golden;

/* ── there and back ── */

static void test_what_was_written_is_read(void **state) {
    struct saved_writer writer;
    saved_begin(&writer, 5);
    saved_fd(&writer, 9);
    saved_fd(&writer, 5);
    assert_int_equal(saved_fd(&writer, -1), -1);
    struct saved_supervisor supervisor = {.proc = saved_fd(&writer, 4), .generation = 3};
    saved_put(&writer, SAVED_SUPERVISOR, &supervisor, sizeof supervisor);
    struct saved_upgrade upgrade = {.own = 5, .executable = 5, .at = 2.5};
    saved_put(&writer, SAVED_UPGRADE, &upgrade, sizeof upgrade);
    saved_put(&writer, SAVED_ORPHANS, NULL, 0);
    int fd = saved_finish(&writer);
    assert_true(fd >= 0);
    saved_writer_deinit(&writer);

    struct saved saved;
    assert_int_equal(saved_open(&saved, fd), 0);
    assert_int_equal(saved.head.executable, 5);
    assert_int_equal(saved.head.pid, getpid());
    assert_string_equal(saved.head.build, guestd_version);
    struct saved_item item = {0};
    assert_true(saved_next(&saved, &item));
    struct saved_supervisor back;
    saved_get(&item, &back, sizeof back);
    assert_int_equal(item.type, SAVED_SUPERVISOR);
    assert_memory_equal(&back, &supervisor, sizeof back);
    assert_true(saved_next(&saved, &item) && item.type == SAVED_UPGRADE);
    assert_true(saved_next(&saved, &item) && item.type == SAVED_ORPHANS && item.len == 0);
    assert_true(saved_next(&saved, &item) && item.type == SAVED_FDS);
    assert_memory_equal(item.bytes, ((const int32_t[]){4, 5, 9}), item.len);
    assert_int_equal(item.len, 12);
    assert_false(saved_next(&saved, &item));
    saved_close(&saved);
    close(fd);
}

/* ── other layouts ── */

static int open_golden(struct saved *saved) {
    int fd = golden_file(golden.bytes, golden.len);
    int err = saved_open(saved, fd);
    close(fd);
    return err;
}

/* The first item of a type; it must be there. */
static struct saved_item find(const struct saved *saved, enum saved_type type) {
    struct saved_item item = {0};
    while (saved_next(saved, &item) && item.type != type)
        ;
    assert_int_equal(item.type, type);
    return item;
}

static void test_missing_fields_read_as_zeros(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-0");
    struct saved saved;
    assert_int_equal(open_golden(&saved), 0);
    assert_int_equal(saved.head.version, 0);
    struct saved_item item = find(&saved, SAVED_SUPERVISOR);
    struct saved_supervisor supervisor;
    memset(&supervisor, 0xff, sizeof supervisor);
    saved_get(&item, &supervisor, sizeof supervisor);
    assert_int_equal(supervisor.job_nonce, 0x1122334455667788);
    assert_int_equal(supervisor.processes_started, 9);
    assert_int_equal(supervisor.generation, 0);
    assert_int_equal(supervisor.reexecs, 0);
    assert_string_equal(supervisor.name, "");
    item = find(&saved, SAVED_TASK);
    struct saved_task task;
    memset(&task, 0xff, sizeof task);
    saved_get(&item, &task, sizeof task);
    assert_int_equal(task.pid, 1001);
    assert_int_equal(task.started_ns, 5);
    assert_int_equal(task.timeout_due, 0);
    assert_int_equal(task.ending, 0);
    saved_close(&saved);
}

/* Offset of the first record of a type. */
static size_t offset_of(enum saved_type type) {
    struct saved_record record;
    for (size_t at = sizeof(struct saved_head); at < golden.len;) {
        memcpy(&record, golden.bytes + at, sizeof record);
        if (record.type == type)
            return at;
        at += sizeof record + (record.len + 7) / 8 * 8;
    }
    fail_msg("no record of type %u", type);
    return 0;
}

static void test_what_grew_is_cut(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-2");
    struct saved saved;
    assert_int_equal(open_golden(&saved), 0);
    struct saved_item item = find(&saved, SAVED_TASK);
    struct saved_task task;
    saved_get(&item, &task, sizeof task);
    assert_true(item.len > sizeof task);
    assert_int_equal(task.pid, 1001);
    assert_int_equal(task.ending, 0);
    saved_close(&saved);
}

static void test_what_one_must_know_is_refused(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-2");
    size_t at = offset_of(200);
    uint16_t must = SAVED_MUST;
    memcpy(golden.bytes + at + 2, &must, sizeof must);
    struct saved saved;
    assert_int_equal(open_golden(&saved), -EPROTONOSUPPORT);
    assert_int_equal(saved.head.executable, 100);

    golden_read(&golden, "state-2");
    uint32_t least = guestd_saved_version + 1;
    memcpy(golden.bytes + offsetof(struct saved_head, least), &least, sizeof least);
    assert_int_equal(open_golden(&saved), -EPROTONOSUPPORT);
    assert_int_equal(saved.head.executable, 100);
}

/* ── broken ones ── */

static void read_all(const struct saved *saved) {
    struct saved_item item = {0};
    uint8_t sum = 0;
    while (saved_next(saved, &item)) {
        for (uint32_t i = 0; i < item.len; i++)
            sum ^= ((const uint8_t *)item.bytes)[i];
    }
    (void)sum;
}

static void test_cut_short(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-1");
    for (size_t len = 0; len < golden.len; len++) {
        struct saved saved;
        int fd = golden_file(golden.bytes, len);
        assert_true(saved_open(&saved, fd) < 0);
        close(fd);
        /* And a head that fits what is left. */
        struct golden cut = golden;
        uint64_t size = len;
        memcpy(cut.bytes + offsetof(struct saved_head, size), &size, sizeof size);
        fd = golden_file(cut.bytes, len);
        assert_true(saved_open(&saved, fd) < 0);
        close(fd);
    }
}

/* Whatever a byte becomes: refused, or read to its end. */
static void test_each_byte_broken(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-1");
    unsigned refused = 0;
    for (size_t at = 0; at < golden.len; at++) {
        for (unsigned flip = 1; flip < 256; flip <<= 1) {
            struct saved saved;
            golden.bytes[at] ^= (uint8_t)flip;
            if (open_golden(&saved) == 0)
                read_all(&saved);
            else
                refused++;
            saved_close(&saved);
            golden.bytes[at] ^= (uint8_t)flip;
        }
    }
    assert_true(refused > 1000);
}

static void break_at(size_t at, const void *bytes, size_t len) {
    golden_read(&golden, "state-1");
    memcpy(golden.bytes + at, bytes, len);
    struct saved saved;
    assert_int_equal(open_golden(&saved), -EBADMSG);
}

static void test_what_can_not_be(void **state) {
    golden = (struct golden){.pid = {1001, 1002}};
    golden_read(&golden, "state-1");
    const size_t head = sizeof(struct saved_record);
    size_t store = offset_of(SAVED_STORE) + head, task = offset_of(SAVED_TASK) + head,
           config = offset_of(SAVED_CONFIG) + head, upgrade = offset_of(SAVED_UPGRADE) + head;
    const uint64_t far = 1 << 20, none = 0;
    const uint32_t odd = 99;
    const uint16_t other = SAVED_STORE, unknown = 200;
    break_at(store + offsetof(struct saved_store, channel[1].size), &far, sizeof far);
    break_at(store + offsetof(struct saved_store, channel[0].at), &far, sizeof far);
    break_at(store + offsetof(struct saved_store, channel[0].oldest), &far, sizeof far);
    break_at(store + offsetof(struct saved_store, channel[0].mode), &odd, sizeof odd);
    break_at(store + offsetof(struct saved_store, facts_len), &far, 4);
    break_at(task + offsetof(struct saved_task, job), &none, sizeof none);
    break_at(task + offsetof(struct saved_task, state), &odd, sizeof odd);
    break_at(task + offsetof(struct saved_task, ending), &odd, sizeof odd);
    break_at(task + offsetof(struct saved_task, pid), &none, 4);
    break_at(config + offsetof(struct link_config, token_len), &far, 4);
    break_at(upgrade + offsetof(struct saved_upgrade, own), &none, 4);
    break_at(upgrade + offsetof(struct saved_upgrade, trying), &odd, 4);
    break_at(offset_of(SAVED_SETTINGS), &other, sizeof other); /* before any task */
    golden_read(&golden, "state-1");
    size_t fds = offset_of(SAVED_FDS);
    golden.bytes[fds + 2] = 0; /* not a must: skipped, and missing */
    memcpy(golden.bytes + fds, &unknown, sizeof unknown);
    struct saved saved;
    assert_int_equal(open_golden(&saved), -EBADMSG);
}

static void test_no_such_file(void **state) {
    struct saved saved;
    assert_int_equal(saved_open(&saved, -1), -EINVAL);
    assert_int_equal(saved_open(&saved, STDIN_FILENO), -EINVAL);
    FILE *file = tmpfile();
    golden_read(&golden, "state-1");
    fwrite(golden.bytes, 1, golden.len, file);
    fflush(file);
    assert_int_equal(saved_open(&saved, fileno(file)), -EINVAL); /* anybody may have made it */
    fclose(file);
    int open = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(open, golden.bytes, golden.len), golden.len);
    assert_int_equal(saved_open(&saved, open),
                     -EINVAL); /* or may still change it; files of tmpfs are such */
    close(open);
    golden.bytes[0]++;
    assert_int_equal(open_golden(&saved), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_was_written_is_read),
        cmocka_unit_test(test_missing_fields_read_as_zeros),
        cmocka_unit_test(test_what_grew_is_cut),
        cmocka_unit_test(test_what_one_must_know_is_refused),
        cmocka_unit_test(test_cut_short),
        cmocka_unit_test(test_each_byte_broken),
        cmocka_unit_test(test_what_can_not_be),
        cmocka_unit_test(test_no_such_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
