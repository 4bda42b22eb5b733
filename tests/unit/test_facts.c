/* A job's record survives its agent; tags and signals have names. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/facts.h"
#include "agent/signame.h"
#include "agent/tag.h"
#include "proto/message.h"

static struct facts *through(const struct facts *in) {
    struct facts *out = NULL;
    msgpack_sbuffer blob;

    msgpack_sbuffer_init(&blob);
    assert_int_equal(facts_pack(in, &blob), 0);
    assert_int_equal(facts_unpack(blob.data, blob.size, &out), 0);
    msgpack_sbuffer_destroy(&blob);
    return out;
}

static void comes_back_whole(void **state) {
    char *args[] = {"-c", "", "not \xff text", NULL};
    struct facts in = {
        .tag = "web",
        .cmd = "/bin/sh",
        .args = {3, args},
        .cwd = "/srv/\xfe",
        .user = "www",
        .flags = FACTS_BACKGROUND | FACTS_PTY,
        .encoding = ENCODING_RAW,
        .max_output = 1 << 20,
    };
    struct facts *out = through(&in);

    assert_string_equal(out->tag, "web");
    assert_string_equal(out->cmd, "/bin/sh");
    assert_int_equal(out->args.n, 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(out->args.v[i], args[i]);
    assert_null(out->args.v[3]);
    assert_string_equal(out->cwd, "/srv/\xfe");
    assert_string_equal(out->user, "www");
    assert_int_equal(out->flags, FACTS_BACKGROUND | FACTS_PTY);
    assert_int_equal(out->encoding, ENCODING_RAW);
    assert_int_equal(out->max_output, 1 << 20);
    free(out);
}

static void args_are_kept_up_to_4_kib(void **state) {
    char big[4000];
    char *args[] = {big, "a", big, "b", NULL};
    struct facts in = {.tag = "t", .cmd = "c", .args = {4, args}, .cwd = "/", .user = "root"};
    struct facts *out;

    memset(big, 'x', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    out = through(&in);
    assert_int_equal(out->args.n, 2);
    assert_string_equal(out->args.v[1], "a");
    free(out);
}

static void many_empty_args_fit(void **state) {
    char *args[5000];
    struct facts in = {.tag = "t", .cmd = "c", .args = {5000, args}, .cwd = "/", .user = "root"};
    struct facts *out;

    for (size_t i = 0; i < 5000; i++)
        args[i] = "";
    out = through(&in);
    assert_int_equal(out->args.n, 4096);
    free(out);
}

static void an_unknown_blob_is_refused(void **state) {
    static const uint8_t other_version[] = {0x96, 2,    0xa1, 't',  0xa1, 'c',
                                            0x90, 0xa1, '/',  0xa1, 'r'};
    static const uint8_t too_short[] = {0x93, 1, 0xa1, 't', 0xa1, 'c'};
    static const uint8_t lies[] = {0xdd, 0xff, 0xff, 0xff, 0xff};
    struct facts *out = NULL;

    assert_int_equal(facts_unpack("", 0, &out), -EBADMSG);
    assert_int_equal(facts_unpack(other_version, sizeof(other_version), &out), -EBADMSG);
    assert_int_equal(facts_unpack(too_short, sizeof(too_short), &out), -EBADMSG);
    assert_int_equal(facts_unpack(lies, sizeof(lies), &out), -EBADMSG);
    assert_null(out);
}

static void an_older_blob_has_fewer_items(void **state) {
    static const uint8_t old[] = {0x96, 1, 0xa1, 't', 0xa1, 'c', 0x90, 0xa1, '/', 0xa1, 'r'};
    struct facts *out = NULL;

    assert_int_equal(facts_unpack(old, sizeof(old), &out), 0);
    assert_string_equal(out->user, "r");
    assert_int_equal(out->encoding, ENCODING_AUTO);
    assert_int_equal(out->flags, 0);
    free(out);
}

static void tags_are_checked(void **state) {
    char longest[130];

    memset(longest, 'a', sizeof(longest));
    longest[129] = '\0';
    assert_false(tag_valid(longest));
    longest[128] = '\0';
    assert_true(tag_valid(longest));
    assert_true(tag_valid("web-1"));
    assert_true(tag_valid("caf\xc3\xa9"));
    assert_true(tag_valid("1a"));
    assert_false(tag_valid(""));
    assert_false(tag_valid("123"));
    assert_false(tag_valid("a\nb"));
    assert_false(tag_valid("a\x7f"));
    assert_false(tag_valid("a\xc2\x85"));
    assert_false(tag_valid("\xff"));
}

static void made_tags_differ_and_are_valid(void **state) {
    char one[TAG_MADE_SIZE], other[TAG_MADE_SIZE];

    assert_int_equal(tag_make(one), 0);
    assert_int_equal(tag_make(other), 0);
    assert_true(tag_valid(one));
    assert_memory_equal(one, "bg-", 3);
    assert_int_equal(strspn(one + 3, "0123456789abcdef"), 8);
    assert_string_not_equal(one, other);
}

static void signals_have_names(void **state) {
    assert_string_equal(signame_of(SIGKILL), "SIGKILL");
    assert_string_equal(signame_of(34), "SIGRTMIN");
    assert_string_equal(signame_of(36), "SIGRTMIN+2");
    assert_string_equal(signame_of(64), "SIGRTMAX");
    assert_null(signame_of(0));
    assert_null(signame_of(65));
    assert_int_equal(signame_parse("KILL"), SIGKILL);
    assert_int_equal(signame_parse("SIGTERM"), SIGTERM);
    assert_int_equal(signame_parse("RTMAX-1"), 63);
    assert_int_equal(signame_parse("RTMIN+99"), 0);
    assert_int_equal(signame_parse("RTMIN+"), 0);
    assert_int_equal(signame_parse("kill"), 0);
    assert_int_equal(signame_parse(""), 0);
    for (int i = 1; i <= 31; i++)
        assert_int_equal(signame_parse(signame_of(i)), i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_whole),
        cmocka_unit_test(args_are_kept_up_to_4_kib),
        cmocka_unit_test(many_empty_args_fit),
        cmocka_unit_test(an_unknown_blob_is_refused),
        cmocka_unit_test(an_older_blob_has_fewer_items),
        cmocka_unit_test(tags_are_checked),
        cmocka_unit_test(made_tags_differ_and_are_valid),
        cmocka_unit_test(signals_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
