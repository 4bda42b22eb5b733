/* libguestproto's files: uploads within their credit, downloads, listings. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_guest.h"

#define MIB (1u << 20)

/* ---- uploads ---- */

static uint8_t pattern(uint64_t off) {
    return (uint8_t)(off * 31 + (off >> 12));
}

/* Takes an upload with the credit that hello told, checks each byte, and never credits more than
 * one piece. */
static void play_upload(struct guest *guest) {
    uint64_t allowed = 70000, received = 0;
    bool open = true;
    uint32_t id;

    guest_answer_hello(guest, 70000, 65536);
    guest_request(guest, "file.write");
    id = guest->message.msgid;
    while (open) {
        struct guestproto_bytes data;
        uint64_t value;

        CHECK(guest_read(guest));
        CHECK(guestproto_get_uint(&guest->message.params, "id", &value) && value == id);
        if (memcmp(guest->message.method.data, "stream.end", 10) == 0) {
            open = false;
            continue;
        }
        CHECK(guestproto_get_bytes(&guest->message.params, "data", &data));
        CHECK(data.len > 0 && data.len <= allowed && data.len < 65536);
        for (size_t i = 0; i < data.len; i++)
            CHECK((uint8_t)data.data[i] == pattern(received + i));
        allowed -= data.len;
        received += data.len;
        guest_credit(guest, id, data.len);
        allowed += data.len;
    }
    CHECK(received == 3 * MIB);
    guest_answer_empty(guest, id);
}

static int pattern_file(size_t len) {
    int fd = memfd_create("pattern", MFD_CLOEXEC);
    uint8_t *data;

    assert_true(fd >= 0 && ftruncate(fd, (off_t)len) == 0);
    data = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(data, MAP_FAILED);
    for (size_t i = 0; i < len; i++)
        data[i] = pattern(i);
    munmap(data, len);
    return fd;
}

static void on_progress(void *context, uint64_t bytes) {
    uint64_t *last = context;

    assert_true(bytes > *last);
    *last = bytes;
}

static void test_an_upload_stays_within_its_credit(void **state) {
    struct guestproto_options options = {0};
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_upload, &options);
    int fd = pattern_file(3 * MIB);
    uint64_t bytes = 0;

    assert_int_equal(guestproto_upload_fd(client, params, fd, on_progress, &bytes, NULL), 0);
    assert_int_equal(bytes, 3 * MIB);
    close(fd);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_full_disk(struct guest *guest) {
    msgpack_packer *pk;
    uint32_t id;

    guest_request(guest, "file.write");
    id = guest->message.msgid;
    CHECK(guest_read(guest));
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, id);
    msgpack_pack_map(pk, 1);
    pack_kv_text(pk, "code", "no_space");
    msgpack_pack_nil(pk);
    guest_send(guest);
}

static void test_a_refused_upload_ends_at_once(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_full_disk, NULL);
    int fd = pattern_file(3 * MIB), pipe_fds[2];

    assert_int_equal(guestproto_upload_fd(client, params, fd, NULL, NULL, NULL),
                     GUESTPROTO_NO_SPACE);
    guest_stop(&guest, client);

    /* A pipe that gives nothing more must not hide the answer. */
    assert_int_equal(pipe(pipe_fds), 0);
    assert_int_equal(write(pipe_fds[1], "x", 1), 1);
    client = guest_start(&guest, play_full_disk, NULL);
    assert_int_equal(guestproto_upload_fd(client, params, pipe_fds[0], NULL, NULL, NULL),
                     GUESTPROTO_NO_SPACE);
    guest_stop(&guest, client);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(fd);
    guestproto_params_free(params);
}

static void play_broken_source(struct guest *guest) {
    uint32_t id;

    guest_request(guest, "file.write");
    id = guest->message.msgid;
    guest_notification(guest, "stream.cancel", id);
    guest_answer_empty(guest, id);
}

static void test_a_source_that_fails_cancels(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_broken_source, NULL);
    int directory = open("/", O_RDONLY | O_CLOEXEC);

    assert_int_equal(guestproto_upload_fd(client, params, -1, NULL, NULL, NULL), -EBADF);
    assert_int_equal(guestproto_upload_fd(client, params, directory, NULL, NULL, NULL), -EISDIR);
    close(directory);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* Speaks before it listens: both sides' buffers are full of data at once. */
static void play_talker(struct guest *guest) {
    static char zeros[MIB];
    uint32_t id;

    guest_answer_hello(guest, 64 * MIB, 1 * MIB);
    guest_request(guest, "file.write");
    id = guest->message.msgid;
    for (int i = 0; i < 16; i++)
        guest_data(guest, id + 1, "file", 0, zeros, sizeof(zeros));
    while (guest_read(guest) && memcmp(guest->message.method.data, "stream.end", 10) != 0)
        ;
    guest_answer_empty(guest, id);
}

static void test_both_may_talk_at_once(void **state) {
    struct guestproto_options options = {0};
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_talker, &options);
    int fd = pattern_file(16 * MIB);

    assert_int_equal(guestproto_upload_fd(client, params, fd, NULL, NULL, NULL), 0);
    close(fd);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* ---- downloads and listings ---- */

static void play_file(struct guest *guest) {
    guest_request(guest, "file.read");
    guest_data(guest, guest->message.msgid, "file", 100, "hello ", 6);
    guest_data(guest, guest->message.msgid, "file", 106, "there", 5);
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_a_download_reaches_the_fd(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_file, NULL);
    int fd = memfd_create("down", MFD_CLOEXEC);
    uint64_t bytes = 0;
    char text[16];

    assert_int_equal(guestproto_download_fd(client, params, fd, on_progress, &bytes, NULL), 0);
    assert_int_equal(bytes, 11);
    assert_int_equal(pread(fd, text, sizeof(text), 0), 11);
    assert_memory_equal(text, "hello there", 11);
    close(fd);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_listing(struct guest *guest) {
    msgpack_packer *pk;
    uint32_t id;

    guest_request(guest, "file.list");
    id = guest->message.msgid;
    for (int i = 0; i < 2; i++) {
        pk = guest_begin(guest, 3, MESSAGE_NOTIFICATION);
        pack_text(pk, "stream.event");
        msgpack_pack_map(pk, 3);
        pack_kv_uint(pk, "id", id);
        pack_kv_text(pk, "event", "entries");
        pack_text(pk, "entries");
        msgpack_pack_array(pk, 2);
        msgpack_pack_map(pk, 7);
        pack_kv_text(pk, "name", "a");
        pack_kv_name(pk, "path", "/x/\xff");
        pack_kv_text(pk, "type", "symlink");
        pack_kv_uint(pk, "size", 7);
        pack_kv_uint(pk, "mode", 0xffff);
        pack_kv_text(pk, "symlink_target", "");
        pack_kv_int(pk, "modified_at", -1);
        msgpack_pack_int(pk, 5);
        guest_send(guest);
    }
    guest_answer_empty(guest, id);
}

static int on_entry(void *context, const msgpack_object *object) {
    struct guestproto_entry entry;
    unsigned *count = context;

    ++*count;
    if (!guestproto_entry_read(object, &entry)) {
        assert_int_equal(object->type, MSGPACK_OBJECT_POSITIVE_INTEGER);
        return 0;
    }
    assert_int_equal(entry.path.len, 4);
    assert_int_equal(entry.size, 7);
    assert_int_equal(entry.mode, 07777);
    assert_int_equal(entry.modified_at, -1);
    assert_non_null(entry.symlink_target.data);
    assert_int_equal(entry.owner.len, 1);
    return 0;
}

static void test_entries_come_one_by_one(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_listing, NULL);
    unsigned count = 0;

    assert_int_equal(guestproto_list(client, params, on_entry, &count, NULL), 0);
    assert_int_equal(count, 4);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_upload_stays_within_its_credit),
        cmocka_unit_test(test_a_refused_upload_ends_at_once),
        cmocka_unit_test(test_a_source_that_fails_cancels),
        cmocka_unit_test(test_both_may_talk_at_once),
        cmocka_unit_test(test_a_download_reaches_the_fd),
        cmocka_unit_test(test_entries_come_one_by_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
