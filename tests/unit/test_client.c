/* libguestproto's calls: hello, params, results, typed errors, and what a hostile guest may try. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "fake_guest.h"

/* ---- hello ---- */

static void play_hello(struct guest *guest) {
    const msgpack_object *params = &guest->message.params;
    struct guestproto_bytes token;
    uint64_t value;

    guest_answer_hello(guest, 1000, 5000);
    CHECK(guestproto_get_uint(params, "protocol", &value) && value == 1);
    CHECK(guestproto_get_uint(params, "max_frame", &value) && value == 4096);
    CHECK(guestproto_get_is(params, "client", "tester"));
    CHECK(guestproto_get_bytes(params, "token", &token) && token.len == 3 &&
          memcmp(token.data, "a\xff\0", 3) == 0);
}

static void test_hello_tells_who_we_are_and_what_the_guest_bears(void **state) {
    struct guestproto_options options = {
        .client = "tester", .token = "a\xff", .token_len = 3, .max_frame = 4096};
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_hello, &options);
    uint64_t value;

    assert_int_equal(guestproto_error(client)->code, 0);
    assert_non_null(guestproto_hello(client));
    assert_true(guestproto_get_uint(guestproto_get(guestproto_hello(client), "limits"), "max_frame",
                                    &value));
    assert_int_equal(value, 5000);
    guest_stop(&guest, client);
}

static void play_refusal(struct guest *guest) {
    msgpack_packer *pk;

    guest_request(guest, "hello");
    pk = guest_begin(guest, 3, MESSAGE_NOTIFICATION);
    pack_text(pk, "protocol.error");
    msgpack_pack_map(pk, 2);
    pack_kv_text(pk, "code", "unauthenticated");
    pack_kv_text(pk, "message", "no");
    guest_send(guest);
}

static void test_a_refused_client_learns_why(void **state) {
    struct guestproto_options options = {0};
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_refusal, &options);

    assert_int_equal(guestproto_error(client)->code, GUESTPROTO_UNAUTHENTICATED);
    assert_string_equal(guestproto_error(client)->message, "no");
    assert_null(guestproto_hello(client));
    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ENOTCONN);
    guest_stop(&guest, client);
}

/* ---- calls ---- */

static void play_params(struct guest *guest) {
    const msgpack_object *params = &guest->message.params, *value;
    msgpack_packer *pk;

    guest_request(guest, "exec");
    CHECK(params->via.map.size == 6);
    CHECK(guestproto_get(params, "cmd")->type == MSGPACK_OBJECT_STR);
    CHECK(guestproto_get(params, "cwd")->type == MSGPACK_OBJECT_BIN);
    CHECK(guestproto_get(params, "timeout")->type == MSGPACK_OBJECT_FLOAT64);
    CHECK(guestproto_get(params, "args")->via.array.size == 2);
    CHECK(guestproto_get(params, "background")->via.boolean);
    value = guestproto_get(params, "envs");
    CHECK(value && value->via.map.size == 2);
    CHECK(guestproto_get_is(value, "A", "2=3"));
    CHECK(value->via.map.ptr[0].val.type == MSGPACK_OBJECT_NIL);

    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 4);
    pack_kv_int(pk, "pid", -7);
    pack_kv_double(pk, "nan", 0.0 / 0.0);
    pack_kv_nil(pk, "signal");
    pack_kv_bool(pk, "news", true);
    guest_send(guest);
}

static void test_params_travel_and_results_are_typed(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_reply reply;
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_params, NULL);
    int64_t pid;
    uint64_t unsigned_pid;
    double number;
    bool flag = false;

    guestproto_put_name(params, "cmd", "/bin/\xc3\xa9");
    guestproto_put_name(params, "cwd", "/\xff");
    guestproto_put_name(params, "user", NULL);
    guestproto_put_number(params, "timeout", 1.5);
    guestproto_put_bool(params, "background", true);
    guestproto_put_names(params, "args", (char *[]){"a", "\xfe"}, 2);
    guestproto_put_envs(params, "envs", (char *[]){"A=1", "GONE", "A=2=3"}, 3);
    assert_int_equal(guestproto_call(client, "exec", params, &reply), 0);
    assert_true(guestproto_get_int(&reply.result, "pid", &pid));
    assert_int_equal(pid, -7);
    assert_false(guestproto_get_uint(&reply.result, "pid", &unsigned_pid));
    assert_false(guestproto_get_number(&reply.result, "nan", &number));
    assert_null(guestproto_get(&reply.result, "signal"));
    assert_null(guestproto_get(&reply.result, "absent"));
    assert_true(guestproto_get_bool(&reply.result, "news", &flag));
    assert_true(flag);
    guestproto_reply_free(&reply);
    guestproto_reply_free(&reply);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_errors(struct guest *guest) {
    msgpack_packer *pk;

    guest_request(guest, "exec");
    /* A selector of digits is a pid, another a tag. */
    CHECK(guestproto_get(&guest->message.params, "pid")->via.u64 == 42);
    CHECK(guestproto_get_is(&guest->message.params, "tag", "bg-42"));
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_map(pk, 5);
    pack_kv_text(pk, "code", "not_found");
    pack_kv_text(pk, "message", "no program \"foo\"");
    pack_kv_int(pk, "errno", ENOENT);
    pack_kv_text(pk, "field", "cmd");
    pack_text(pk, "data");
    msgpack_pack_map(pk, 1);
    pack_kv_int(pk, "off", 5);
    msgpack_pack_nil(pk);
    guest_send(guest);

    guest_request(guest, "ping");
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_map(pk, 2);
    pack_kv_text(pk, "code", "a_newer_agents_word");
    pack_kv_int(pk, "message", 3);
    msgpack_pack_nil(pk);
    guest_send(guest);
}

static void test_errors_are_typed(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_errors, NULL);
    const struct guestproto_error *error = guestproto_error(client);
    int64_t off;

    guestproto_put_selector(params, "42");
    guestproto_put_selector(params, "bg-42");
    assert_int_equal(guestproto_call(client, "exec", params, NULL), GUESTPROTO_NOT_FOUND);
    assert_int_equal(error->code, GUESTPROTO_NOT_FOUND);
    assert_string_equal(guestproto_code_name(error->code), "not_found");
    assert_string_equal(error->message, "no program \"foo\"");
    assert_string_equal(error->field, "cmd");
    assert_int_equal(error->err, ENOENT);
    assert_true(guestproto_get_int(&error->data, "off", &off));
    assert_int_equal(off, 5);

    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), GUESTPROTO_INTERNAL);
    assert_int_equal(error->err, 0);
    assert_string_equal(error->field, "");
    assert_int_equal(error->data.type, MSGPACK_OBJECT_NIL);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_split(struct guest *guest) {
    msgpack_packer *pk;
    char text[3000];

    memset(text, 'x', sizeof(text));
    guest_request(guest, "info");
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 1);
    pack_text(pk, "text");
    pack_bytes(pk, text, sizeof(text));
    frame_header((uint8_t *)guest->buffer.data, (uint32_t)(guest->buffer.size - FRAME_HEADER));
    for (size_t i = 0; i < guest->buffer.size; i++)
        guest_send_raw(guest, guest->buffer.data + i, 1);
}

static void test_an_answer_may_come_byte_by_byte(void **state) {
    struct guestproto_reply reply;
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_split, NULL);
    struct guestproto_bytes text;

    assert_int_equal(guestproto_call(client, "info", NULL, &reply), 0);
    assert_true(guestproto_get_bytes(&reply.result, "text", &text));
    assert_int_equal(text.len, 3000);
    assert_int_equal(text.data[2999], 'x');
    guestproto_reply_free(&reply);
    guest_stop(&guest, client);
}

static void play_after_large(struct guest *guest) {
    guest_answer_hello(guest, 1000, 5000);
    guest_request(guest, "ping");
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_a_request_too_large_is_not_sent(void **state) {
    static char large[6000];
    struct guestproto_options options = {0};
    struct guestproto_params *params = guestproto_params_new();
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_after_large, &options);

    guestproto_put_bytes(params, "data", large, sizeof(large));
    assert_int_equal(guestproto_call(client, "file.write", params, NULL), -EMSGSIZE);
    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* ---- a guest that is silent, gone, or hostile ---- */

static void play_nothing(struct guest *guest) {
    guest_request(guest, "ping");
    /* Until the client gives up and closes. */
    CHECK(!guest_read(guest));
}

static void test_silence_ends_a_call(void **state) {
    struct guestproto_options options = {.skip_hello = true, .timeout_ms = 30};
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_nothing, &options);

    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ETIMEDOUT);
    assert_int_equal(guestproto_error(client)->err, ETIMEDOUT);
    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ENOTCONN);
    guest_stop(&guest, client);
}

struct bytes {
    const char *what, *data;
    size_t len;
};

#define BYTES(what, text) \
    { what, text, sizeof(text) - 1 }

static void play_bytes(struct guest *guest) {
    const struct bytes *bytes = guest->context;

    guest_request(guest, "ping");
    guest_send_raw(guest, bytes->data, bytes->len);
}

static void test_hostile_frames_end_the_connection(void **state) {
    static const struct bytes cases[] = {
        BYTES("a length over max_frame", "\xff\xff\xff\xff\x94"),
        BYTES("an empty body", "\0\0\0\0"),
        BYTES("an array longer than its frame", "\0\0\0\x05\x94\x01\x01\xc0\xdd"),
        BYTES("an array of 2^32-1 items", "\0\0\0\x09\x94\x01\x01\xc0\xdd\xff\xff\xff\xff"),
        BYTES("a map of 2^32-1 pairs", "\0\0\0\x09\x94\x01\x01\xc0\xdf\xff\xff\xff\xff"),
        BYTES("a text longer than its frame", "\0\0\0\x09\x94\x01\x01\xc0\xdb\x7f\xff\xff\xff"),
        BYTES("bytes behind the object", "\0\0\0\x06\x94\x01\x01\xc0\x80\x80"),
        BYTES("17 levels",
              "\0\0\0\x17\x94\x01\x01\xc0\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"
              "\x91\x91\x91\xc0"),
        BYTES("the byte that is no object", "\0\0\0\x05\x94\x01\x01\xc0\xc1"),
        BYTES("an extension", "\0\0\0\x07\x94\x01\x01\xc0\xd4\x01\x01"),
        BYTES("no array", "\0\0\0\x01\x80"),
        BYTES("an unknown kind", "\0\0\0\x05\x94\x03\x01\xc0\x80"),
        BYTES("a msgid that is a text", "\0\0\0\x06\x94\x01\xa1x\xc0\x80"),
        BYTES("neither error nor result", "\0\0\0\x05\x94\x01\x01\xc0\xc0"),
        BYTES("error and result", "\0\0\0\x05\x94\x01\x01\x80\x80"),
        BYTES("a result that is no map", "\0\0\0\x05\x94\x01\x01\xc0\x05"),
        BYTES("an answer to what was not asked", "\0\0\0\x05\x94\x01\x02\xc0\x80"),
        BYTES("a request", "\0\0\0\x06\x94\x00\x01\xa1x\x80"),
        BYTES("a request with a bad method", "\0\0\0\x05\x94\x00\x01\x05\x80"),
        BYTES("data without an offset", "\0\0\0\x19\x93\x02\xab"
                                        "stream.data\x82\xa2id\x01\xa4"
                                        "data\xc4\x00"),
        BYTES("credit without bytes", "\0\0\0\x14\x93\x02\xad"
                                      "stream.credit\x81\xa2id\x01"),
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct guest guest = {.context = (void *)&cases[i]};
        struct guestproto *client = guest_start(&guest, play_bytes, NULL);
        struct guestproto_reply reply = {.owner = NULL};
        int r = guestproto_call(client, "ping", NULL, &reply);

        if (r != -EPROTO)
            fail_msg("%s: %d, %s", cases[i].what, r, guestproto_error(client)->message);
        assert_null(reply.owner);
        assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ENOTCONN);
        guest_stop(&guest, client);
    }
}

static void test_a_guest_that_leaves_is_seen(void **state) {
    static const struct bytes cases[] = {
        BYTES("no word", ""),
        BYTES("half a header", "\0\0"),
        BYTES("half a frame", "\0\0\0\x05\x94\x01"),
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct guest guest = {.context = (void *)&cases[i]};
        struct guestproto *client = guest_start(&guest, play_bytes, NULL);

        assert_int_equal(guestproto_call(client, "ping", NULL, NULL), -ECONNRESET);
        guest_stop(&guest, client);
    }
}

static void play_deep_but_allowed(struct guest *guest) {
    /* The body is level 1, the result 2, and so on to 16. */
    static const char frame[] =
        "\0\0\0\x16\x94\x01\x01\xc0\x81\xa1x\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91"
        "\x91\x91\xc0";

    guest_request(guest, "ping");
    guest_send_raw(guest, frame, sizeof(frame) - 1);
}

static void test_sixteen_levels_are_fine(void **state) {
    struct guest guest;
    struct guestproto *client = guest_start(&guest, play_deep_but_allowed, NULL);

    assert_int_equal(guestproto_call(client, "ping", NULL, NULL), 0);
    guest_stop(&guest, client);
}

static void test_addresses_are_told_wrong(void **state) {
    struct guestproto *client = guestproto_new(NULL);

    assert_int_equal(guestproto_connect(client, "nowhere"), -EINVAL);
    assert_int_equal(guestproto_connect(client, "unix:/there/is/no/such/socket"), -ENOENT);
    assert_non_null(strstr(guestproto_error(client)->message, "unix:/there/is/no/such/socket"));
    assert_null(guestproto_free(client));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hello_tells_who_we_are_and_what_the_guest_bears),
        cmocka_unit_test(test_a_refused_client_learns_why),
        cmocka_unit_test(test_params_travel_and_results_are_typed),
        cmocka_unit_test(test_errors_are_typed),
        cmocka_unit_test(test_an_answer_may_come_byte_by_byte),
        cmocka_unit_test(test_a_request_too_large_is_not_sent),
        cmocka_unit_test(test_silence_ends_a_call),
        cmocka_unit_test(test_hostile_frames_end_the_connection),
        cmocka_unit_test(test_a_guest_that_leaves_is_seen),
        cmocka_unit_test(test_sixteen_levels_are_fine),
        cmocka_unit_test(test_addresses_are_told_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
