/* libguestproto over lost connections: no byte lost, none twice, and a guest that lies about it. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_guest.h"
#include "heard.h"

static struct guestproto_options lasting(struct heard *heard) {
    return (struct guestproto_options){
        .skip_hello = true,
        .resumed = heard_resumed,
        .resumed_context = heard,
    };
}

/* Runs an exec against a part; what it came to. */
static int exec_against(void (*play)(struct guest *), struct heard *heard) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_options options = lasting(heard);
    struct guestproto_exec exec = heard_exec(heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play, &options);
    int r;

    guestproto_put_name(params, "cmd", "x");
    r = guestproto_exec(client, params, &exec, NULL);
    guestproto_params_free(params);
    guest_stop(&guest, client);
    return r;
}

/* An exec on a new connection, with the key of the one before (key[0] '\0': the first). */
static uint32_t take_exec(struct guest *guest, char key[64]) {
    struct guestproto_bytes text;

    guest_accept(guest);
    guest_request(guest, "exec");
    CHECK(guestproto_get_bytes(&guest->message.params, "key", &text) && text.len > 20 &&
          text.len < 64);
    CHECK(key[0] == '\0' || memcmp(key, text.data, text.len) == 0);
    memcpy(key, text.data, text.len);
    key[text.len] = '\0';
    return guest->message.msgid;
}

/* ---- output ---- */

static void play_twice(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_started(guest, id, "web", UINT64_MAX);
    guest_data(guest, id, "stdout", 0, "one", 3);
    guest_data(guest, id, "stderr", 0, "err", 3);
    guest_end(guest, id, "stderr", 3);
    id = take_exec(guest, key);
    guest_started(guest, id, "web", UINT64_MAX);
    guest_data(guest, id, "stdout", 0, "on", 2);
    guest_data(guest, id, "stdout", 2, "etwo", 4);
    guest_data(guest, id, "stderr", 0, "err", 3);
    guest_end(guest, id, "stderr", 3);
    id = take_exec(guest, key);
    guest_started(guest, id, "web", UINT64_MAX);
    guest_gap(guest, id, "stdout", 0, 4);
    guest_data(guest, id, "stdout", 4, "wo", 2);
    guest_data(guest, id, "stdout", 6, "three", 5);
    guest_end(guest, id, "stdout", 11);
    guest_gap(guest, id, "stderr", 0, 3);
    guest_end(guest, id, "stderr", 3);
    guest_answer_empty(guest, id);
}

static void test_output_goes_on_where_it_was(void **state) {
    struct heard heard = {.answer = 0};

    assert_int_equal(exec_against(play_twice, &heard), 0);
    assert_string_equal(heard.text, "started 42 web;0@0 one;1@0 err;1 end 3;"
                                    "started 42 web;0@3 two;"
                                    "started 42 web;0@6 three;0 end 11;");
    assert_string_equal(heard.resumed, "exec stdout 3, stderr 3;exec stdout 6, stderr 3;");
}

static void play_gone(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_data(guest, id, "stdout", 0, "one", 3);
    id = take_exec(guest, key);
    guest_gap(guest, id, "stdout", 0, 10);
    guest_data(guest, id, "stdout", 10, "two", 3);
    guest_answer_empty(guest, id);
}

static void test_what_is_gone_is_told_from_where_it_is_missing(void **state) {
    struct heard heard = {.answer = 0};

    assert_int_equal(exec_against(play_gone, &heard), 0);
    assert_string_equal(heard.text, "0@0 one;0 gap 3-10;0@10 two;");
}

static void play_silent_loss(struct guest *guest) {
    char key[64] = "";

    guest_data(guest, take_exec(guest, key), "stdout", 0, "one", 3);
    guest_data(guest, take_exec(guest, key), "stdout", 4, "two", 3);
}

static void play_disorder(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_data(guest, id, "stdout", 0, "one", 3);
    id = take_exec(guest, key);
    guest_data(guest, id, "stdout", 0, "o", 1);
    guest_data(guest, id, "stdout", 2, "e", 1);
}

static void play_life_after_end(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_data(guest, id, "stdout", 0, "one", 3);
    guest_end(guest, id, "stdout", 3);
    id = take_exec(guest, key);
    guest_data(guest, id, "stdout", 0, "onetwo", 6);
}

static void play_shorter(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_data(guest, id, "stdout", 0, "one", 3);
    id = take_exec(guest, key);
    guest_data(guest, id, "stdout", 0, "on", 2);
    guest_end(guest, id, "stdout", 2);
}

static void play_flood(struct guest *guest) {
    static char zeros[(512 << 10) + 1];
    char key[64] = "";

    guest_data(guest, take_exec(guest, key), "stdout", 0, zeros, 512 << 10);
    guest_data(guest, take_exec(guest, key), "stdout", 0, zeros, sizeof(zeros));
}

static void test_a_guest_that_lies_about_what_was_is_left(void **state) {
    void (*const parts[])(struct guest *) = {play_silent_loss, play_disorder, play_life_after_end,
                                             play_shorter, play_flood};

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct heard heard = {.answer = 0};

        assert_int_equal(exec_against(parts[i], &heard), -EPROTO);
        assert_null(strstr(heard.text, "two"));
    }
}

static void play_another(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_started(guest, id, "web", UINT64_MAX);
    guest_data(guest, id, "stdout", 0, "one", 3);
    id = take_exec(guest, key);
    guest_started(guest, id, "bew", UINT64_MAX);
    guest_data(guest, id, "stdout", 0, "onetwo", 6);
}

static void test_another_program_is_not_taken_for_the_first(void **state) {
    struct heard heard = {.answer = 0};

    assert_int_equal(exec_against(play_another, &heard), -ESTALE);
    assert_string_equal(heard.text, "started 42 web;0@0 one;");
}

/* ---- hello ---- */

static void answer_hello(struct guest *guest, const char *instance) {
    msgpack_packer *pk;

    guest_accept(guest);
    guest_request(guest, "hello");
    pk = guest_begin(guest, 4, MESSAGE_RESPONSE);
    msgpack_pack_uint32(pk, guest->message.msgid);
    msgpack_pack_nil(pk);
    msgpack_pack_map(pk, 1);
    pack_kv_text(pk, "instance", instance);
    guest_send(guest);
}

static void play_anew(struct guest *guest) {
    answer_hello(guest, "a");
    guest_request(guest, "exec");
    answer_hello(guest, "b");
    CHECK(!guest_read(guest)); /* the exec would run again */
}

static void play_same(struct guest *guest) {
    answer_hello(guest, "a");
    guest_request(guest, "exec");
    answer_hello(guest, "a");
    guest_request(guest, "exec");
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_a_guestd_that_was_started_anew_is_not_asked_again(void **state) {
    struct guestproto_options options = {.client = "t"};
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play_anew, &options);

    assert_int_equal(guestproto_call(client, "exec", NULL, NULL), -ESTALE);
    guest_stop(&guest, client);
    client = guest_start_lasting(&guest, play_same, &options);
    assert_int_equal(guestproto_call(client, "exec", NULL, NULL), 0);
    guest_stop(&guest, client);
}

/* ---- keys ---- */

static void play_no_keys(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_refuse(guest, id, "unsupported", "key");
    guest_request(guest, "exec");
    CHECK(!guestproto_get(&guest->message.params, "key"));
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_an_older_guest_is_asked_without_a_key(void **state) {
    struct heard heard = {.answer = 0};

    assert_int_equal(exec_against(play_no_keys, &heard), 0);
}

static void play_own_key(struct guest *guest) {
    for (int i = 0; i < 2; i++) {
        guest_accept(guest);
        guest_request(guest, "exec");
        CHECK(guestproto_get_is(&guest->message.params, "key", "mine"));
        CHECK(guest->message.params.via.map.size == 2);
    }
    guest_answer_empty(guest, guest->message.msgid);
}

static void test_a_captured_exec_is_asked_again_by_the_callers_key(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_options options = {.skip_hello = true};
    struct guestproto_exec exec = {.captured = true};
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play_own_key, &options);

    guestproto_put_name(params, "cmd", "x");
    guestproto_put_text(params, "key", "mine");
    assert_int_equal(guestproto_exec(client, params, &exec, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* ---- stdin ---- */

static void take_piece(struct guest *guest, uint32_t id, const char *piece) {
    struct guestproto_bytes data;

    guest_notification(guest, "stream.data", id);
    CHECK(guestproto_get_bytes(&guest->message.params, "data", &data));
    CHECK(data.len == strlen(piece) && memcmp(data.data, piece, data.len) == 0);
}

static void play_stdin(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_started(guest, id, "cat", 0);
    take_piece(guest, id, "one");
    take_piece(guest, id, "two");
    take_piece(guest, id, "three");
    guest_credit(guest, id, 3);
    guest_notification(guest, "stream.end", id);
    id = take_exec(guest, key);
    guest_started(guest, id, "cat", 5);
    take_piece(guest, id, "othree");
    guest_notification(guest, "stream.end", id);
    id = take_exec(guest, key);
    guest_started(guest, id, "cat", 11);
    guest_notification(guest, "stream.end", id);
    guest_answer_empty(guest, id);
}

static void test_stdin_goes_on_where_the_guest_has_it(void **state) {
    struct heard heard = {.typed = "one|two|three"};

    assert_int_equal(exec_against(play_stdin, &heard), 0);
}

static void play_stdin_twice(struct guest *guest) {
    char key[64] = "";
    uint32_t id = take_exec(guest, key);

    guest_started(guest, id, "cat", 0);
    take_piece(guest, id, "one");
    guest_notification(guest, "stream.end", id);
    guest_credit(guest, id, 3);
    guest_data(guest, id, "stdout", 0, "one", 3);
    guest_started(guest, take_exec(guest, key), "cat", 2);
}

static void test_stdin_that_was_credited_is_not_kept(void **state) {
    struct heard heard = {.typed = "one"};

    assert_int_equal(exec_against(play_stdin_twice, &heard), -EPROTO);
}

/* ---- attach ---- */

static uint32_t take_attach(struct guest *guest) {
    guest_request(guest, "process.attach");
    return guest->message.msgid;
}

static void play_attach(struct guest *guest) {
    const msgpack_object *params = &guest->message.params;
    uint64_t off;
    uint32_t id;

    guest_accept(guest);
    id = take_attach(guest);
    CHECK(guestproto_get_is(params, "tag", "web") && guestproto_get_is(params, "from", "now"));
    guest_started(guest, id, "web", UINT64_MAX);
    guest_data(guest, id, "stdout", 100, "one", 3);
    guest_accept(guest);
    id = take_attach(guest);
    CHECK(guestproto_get_uint(params, "pid", &off) && off == 42);
    CHECK(!guestproto_get(params, "tag"));
    CHECK(guestproto_get_uint(guestproto_get(params, "from"), "stdout", &off) && off == 103);
    guest_started(guest, id, "web", UINT64_MAX);
    guest_data(guest, id, "stdout", 103, "two", 3);
    guest_end(guest, id, "stdout", 106);
    guest_answer_empty(guest, id);
}

static void test_an_attach_goes_on_by_pid_and_offset(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct heard heard = {.answer = 0};
    struct guestproto_options options = lasting(&heard);
    struct guestproto_exec exec = heard_exec(&heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play_attach, &options);

    guestproto_put_selector(params, "web");
    guestproto_put_text(params, "from", "now");
    assert_int_equal(guestproto_attach(client, params, &exec, NULL), 0);
    assert_string_equal(heard.text, "started 42 web;0@100 one;started 42 web;0@103 two;0 end 106;");
    assert_string_equal(heard.resumed, "process.attach stdout 103;");
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

/* A process.input, its data and whether it says its place. */
static uint32_t take_input(struct guest *guest, const char *piece, uint64_t off) {
    const msgpack_object *params = &guest->message.params;
    struct guestproto_bytes data;
    uint64_t told = UINT64_MAX;

    guest_request(guest, "process.input");
    CHECK(guestproto_get_bytes(params, "data", &data));
    CHECK(data.len == strlen(piece) && memcmp(data.data, piece, data.len) == 0);
    guestproto_get_uint(params, "off", &told);
    CHECK(told == off);
    return guest->message.msgid;
}

static void play_typing(struct guest *guest) {
    uint32_t id;

    guest_accept(guest);
    guest_answer_uint(guest, take_input(guest, "", UINT64_MAX), "off", 50);
    id = take_attach(guest);
    guest_started(guest, id, "sh", 50);
    guest_answer_uint(guest, take_input(guest, "one", UINT64_MAX), "off", 53);
    guest_refuse(guest, take_input(guest, "two", UINT64_MAX), "busy", "data");
    take_input(guest, "two", UINT64_MAX);
    guest_accept(guest);
    id = take_attach(guest);
    guest_started(guest, id, "sh", 56);
    guest_answer_uint(guest, take_input(guest, "two", 53), "off", 56);
    guest_answer_uint(guest, take_input(guest, "three", UINT64_MAX), "off", 61);
    guest_answer_empty(guest, id);
}

static void test_what_is_typed_into_an_attach_is_repeated_by_its_offset(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct heard heard = {.typed = "one|two|three"};
    struct guestproto_options options = lasting(&heard);
    struct guestproto_exec exec = heard_exec(&heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play_typing, &options);

    guestproto_put_selector(params, "sh");
    assert_int_equal(guestproto_attach(client, params, &exec, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

static void play_sizes(struct guest *guest) {
    const msgpack_object *params = &guest->message.params;
    uint32_t id, resize;
    uint64_t rows, cols;

    guest_accept(guest);
    id = take_attach(guest);
    guest_started(guest, id, "sh", UINT64_MAX);
    guest_request(guest, "process.resize");
    CHECK(guestproto_get_uint(params, "rows", &rows) && rows == 50);
    CHECK(guestproto_get_uint(params, "cols", &cols) && cols == 132);
    guest_accept(guest);
    id = take_attach(guest);
    guest_started(guest, id, "sh", UINT64_MAX);
    guest_request(guest, "process.resize");
    resize = guest->message.msgid;
    CHECK(guestproto_get_uint(params, "rows", &rows) && rows == 50);
    guestproto_set_size(guest->context, 51, 133);
    guest_answer_empty(guest, resize);
    guest_request(guest, "process.resize");
    CHECK(guestproto_get_uint(params, "cols", &cols) && cols == 133);
    guest_refuse(guest, guest->message.msgid, "invalid_request", "rows");
    guest_answer_empty(guest, id);
}

static void test_the_terminals_size_arrives(void **state) {
    struct guestproto_params *params = guestproto_params_new();
    struct guestproto_options options = {.skip_hello = true};
    struct heard heard = {.answer = 0};
    struct guestproto_exec exec = heard_exec(&heard, 0);
    struct guest guest;
    struct guestproto *client = guest_start_lasting(&guest, play_sizes, &options);

    guest.context = client;
    guestproto_set_size(client, 0, 80);
    guestproto_set_size(client, 50, 132);
    guestproto_put_selector(params, "sh");
    assert_int_equal(guestproto_attach(client, params, &exec, NULL), 0);
    guestproto_params_free(params);
    guest_stop(&guest, client);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_output_goes_on_where_it_was),
        cmocka_unit_test(test_what_is_gone_is_told_from_where_it_is_missing),
        cmocka_unit_test(test_a_guest_that_lies_about_what_was_is_left),
        cmocka_unit_test(test_another_program_is_not_taken_for_the_first),
        cmocka_unit_test(test_a_guestd_that_was_started_anew_is_not_asked_again),
        cmocka_unit_test(test_an_older_guest_is_asked_without_a_key),
        cmocka_unit_test(test_a_captured_exec_is_asked_again_by_the_callers_key),
        cmocka_unit_test(test_stdin_goes_on_where_the_guest_has_it),
        cmocka_unit_test(test_stdin_that_was_credited_is_not_kept),
        cmocka_unit_test(test_an_attach_goes_on_by_pid_and_offset),
        cmocka_unit_test(test_what_is_typed_into_an_attach_is_repeated_by_its_offset),
        cmocka_unit_test(test_the_terminals_size_arrives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
