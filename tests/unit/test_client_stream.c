/* libguestproto's streams: output with credits, cancelling, and breaches of all that. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_guest.h"
#include "heard.h"

/* ---- exec ---- */

static void event(struct guest *guest, uint32_t id, const char *name) {
    msgpack_packer *pk = guest_begin(guest, 3, MESSAGE_NOTIFICATION);

    pack_text(pk, "stream.event");
    msgpack_pack_map(pk, 4);
    pack_kv_uint(pk, "id", id);
    pack_kv_text(pk, "event", name);
    pack_kv_int(pk, "pid", 42);
    pack_kv_text(pk, "tag", "web");
    guest_send(guest);
}

static void play_exec(struct guest *guest) {
    uint64_t window;
    uint32_t id;
    bool stream;

    guest_request(guest, "exec");
    id = guest->message.msgid;
    CHECK(guestproto_get_bool(&guest->message.params, "stream", &stream) && stream);
    CHECK(guestproto_get_uint(&guest->message.params, "window", &window) && window == 512 << 10);
    CHECK(!guestproto_get(&guest->message.params, "key"));
    event(guest, id + 1, "started");
    event(guest, id, "a newer agent's event");
    event(guest, id, "started");
    guest_data(guest, id, "stdout", 0, "one", 3);
    guest_data(guest, id + 7, "stdout", 900, "foreign", 7);
    guest_data(guest, id, "stderr", 0, "two", 3);
    guest_data(guest, id, "news", 0, "unknown", 7);
    guest_gap(guest, id, "stdout", 3, 10);
    guest_data(guest, id, "stdout", 10, "three", 5);
    guest_data(guest, id, "stdout", 15, "", 0);
    guest_end(guest, id, "stdout", 15);
    guest_end(guest, id, "stderr", 3);
    guest_answer_empty(guest, id);
}

static void test_exec_tells_all_in_order(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct heard heard = {0};
    struct guestproto_exec exec = heard_exec(&heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_exec, NULL);

    guestproto_put_name(params, "cmd", "x");
    assert_int_equal(guestproto_exec(client, params, &exec, NULL), 0);
    assert_string_equal(heard.text, "started 42 web;0@0 one;1@0 two;0 gap 3-10;0@10 three;"
                                    "0@15 ;0 end 15;1 end 3;");
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* Sends only what was credited, and needs every credit to get through. */
static void play_window(struct guest *guest) {
    static char zeros[1000];
    uint64_t allowed = 1000, sent = 0, bytes;
    uint32_t id;

    guest_request(guest, "exec");
    id = guest->message.msgid;
    CHECK(guestproto_get_uint(&guest->message.params, "window", &bytes) && bytes == 1000);
    while (sent < 100000) {
        if (allowed == 0) {
            guest_notification(guest, "stream.credit", id);
            CHECK(guestproto_get_uint(&guest->message.params, "bytes", &bytes) && bytes > 0 &&
                  bytes <= 1000);
            allowed += bytes;
        }
        guest_data(guest, id, "stdout", sent, zeros, allowed);
        sent += allowed;
        allowed = 0;
    }
    guest_answer_empty(guest, id);
}

static void test_what_is_consumed_is_credited(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct heard heard = {0};
    struct guestproto_exec exec = heard_exec(&heard, 1000);
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_window, NULL);

    assert_int_equal(guestproto_exec(client, params, &exec, NULL), 0);
    assert_true(heard.bytes >= 100000);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_flood(struct guest *guest) {
    static char zeros[1001];

    guest_request(guest, "exec");
    guest_data(guest, guest->message.msgid, "stdout", 0, zeros, sizeof(zeros));
}

static void play_falling(struct guest *guest) {
    guest_request(guest, "exec");
    guest_data(guest, guest->message.msgid, "stdout", 0, "abc", 3);
    guest_data(guest, guest->message.msgid, "stdout", 2, "abc", 3);
}

static void play_hole(struct guest *guest) {
    guest_request(guest, "exec");
    guest_data(guest, guest->message.msgid, "stdout", 0, "abc", 3);
    guest_data(guest, guest->message.msgid, "stdout", 4, "abc", 3);
}

static void play_wrapping(struct guest *guest) {
    guest_request(guest, "exec");
    guest_gap(guest, guest->message.msgid, "stdout", 0, UINT64_MAX - 1);
    guest_data(guest, guest->message.msgid, "stdout", UINT64_MAX - 1, "abc", 3);
}

static void play_gap_over_bytes(struct guest *guest) {
    guest_request(guest, "exec");
    guest_data(guest, guest->message.msgid, "stdout", 0, "abc", 3);
    guest_gap(guest, guest->message.msgid, "stdout", 2, 5);
}

static void play_early_end(struct guest *guest) {
    guest_request(guest, "exec");
    guest_data(guest, guest->message.msgid, "stdout", 0, "abc", 3);
    guest_end(guest, guest->message.msgid, "stdout", 2);
}

static void test_breaches_of_a_stream_end_the_connection(void **state) {
    void (*const parts[])(struct guest *) = {play_flood,    play_falling,        play_hole,
                                             play_wrapping, play_gap_over_bytes, play_early_end};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct guestproto_params *params = guestproto_params_new();
        struct heard heard = {0};
        struct guestproto_exec exec = heard_exec(&heard, 1000);
        struct guest guest;
        struct guestproto *client = guest_start(&guest, parts[i], NULL);

        assert_int_equal(guestproto_exec(client, params, &exec, NULL), -EPROTO);
        assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ENOTCONN);
        guestproto_params_free(params);
        guest_stop(&guest, client);
    }
}

static void play_late_start(struct guest *guest) {
    uint32_t id;

    guest_request(guest, "exec");
    id = guest->message.msgid;
    guest_data(guest, id, "stdout", 5, "abc", 3);
    guest_notification(guest, "stream.cancel", id);
    guest_answer_empty(guest, id);
}

static void test_a_programs_output_begins_at_zero(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct heard heard = {0};
    struct guestproto_exec exec = heard_exec(&heard, 1000);
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_late_start, NULL);

    assert_int_equal(guestproto_exec(client, params, &exec, NULL), -EPROTO);
    assert_string_equal(heard.text, "");
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* ---- cancelling ---- */

static void play_until_cancelled(struct guest *guest) {
    uint32_t id;

    guest_request(guest, "exec");
    id = guest->message.msgid;
    guest_data(guest, id, "stdout", 0, "one", 3);
    guest_notification(guest, "stream.cancel", id);
    guest_data(guest, id, "stdout", 3, "two", 3);
    guest_answer_empty(guest, id);
    /* The connection lives. */
    guest_request(guest, "ping");
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_a_failing_callback_cancels(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_reply reply = {.owner = NULL};
    struct heard heard = {.answer = -ENOSPC};
    struct guestproto_exec exec = heard_exec(&heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_until_cancelled, NULL);

    assert_int_equal(guestproto_exec(client, params, &exec, &reply), -ENOSPC);
    assert_null(reply.owner);
    assert_string_equal(heard.text, "0@0 one;");
    assert_int_equal(guestproto_error(client)->err, ENOSPC);
    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static int cancel_on_output(void *context, enum guestproto_channel channel, uint64_t off,
                            const void *data, size_t len) {
    /* As a signal handler would, in the middle of the call. */
    guestproto_cancel(context);
    return 0;
}

static void test_cancel_is_passed_on_and_the_answer_awaited(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_reply reply = {.owner = NULL};
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_until_cancelled, NULL);
    struct guestproto_exec exec = {.context = client, .output = cancel_on_output};

    assert_int_equal(guestproto_exec(client, params, &exec, &reply), 0);
    assert_non_null(reply.owner);
    guestproto_reply_free(&reply);
    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_wait_for_cancel(struct guest *guest) {
    uint32_t id;

    guest_request(guest, "exec");
    id = guest->message.msgid;
    /* The client waits by now, or will: both are woken. */
    guestproto_cancel(guest->context);
    guest_notification(guest, "stream.cancel", id);
    guest_answer_empty(guest, id);
}

static void test_cancel_from_another_thread_wakes_the_call(void **state) {
    struct guest guest = {0};
    struct guestproto *client;
    struct guestproto_options options = {.skip_hello = true};

    client = guest_start(&guest, play_wait_for_cancel, &options);
    guest.context = client;
    assert_int_equal(guestproto_call(client, "exec", NULL, NULL), 0);
    guest_stop(&guest, client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exec_tells_all_in_order),
        cmocka_unit_test(test_what_is_consumed_is_credited),
        cmocka_unit_test(test_breaches_of_a_stream_end_the_connection),
        cmocka_unit_test(test_a_programs_output_begins_at_zero),
        cmocka_unit_test(test_a_failing_callback_cancels),
        cmocka_unit_test(test_cancel_is_passed_on_and_the_answer_awaited),
        cmocka_unit_test(test_cancel_from_another_thread_wakes_the_call),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
