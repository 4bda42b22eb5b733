/* A child's environment: who wins; and where its program is looked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/childenv.h"

struct made {
    msgpack_sbuffer text;
    uint32_t n;
    const char *path;
};

static struct made make(const struct childenv *in) {
    struct made made;

    msgpack_sbuffer_init(&made.text);
    assert_int_equal(childenv_append(in, &made.text, &made.n, &made.path), 0);
    return made;
}

/* The value of a variable, NULL when it isn't there; each is there once. */
static const char *value(const struct made *made, const char *name) {
    const char *at = made->text.data, *found = NULL;
    size_t len = strlen(name);

    for (uint32_t i = 0; i < made->n; i++, at += strlen(at) + 1)
        if (!strncmp(at, name, len) && at[len] == '=') {
            assert_null(found);
            found = at + len + 1;
        }
    assert_ptr_equal(at, made->text.data + made->text.size);
    return found;
}

static const char *const nothing[] = {NULL};

static void a_child_always_has_these(void **state) {
    struct childenv in = {.own = nothing, .home = "/root", .user = "root", .shell = "/bin/sh"};
    struct made made = make(&in);

    assert_int_equal(made.n, 5);
    assert_string_equal(value(&made, "PATH"), CHILDENV_PATH);
    assert_string_equal(value(&made, "HOME"), "/root");
    assert_string_equal(value(&made, "USER"), "root");
    assert_string_equal(value(&made, "LOGNAME"), "root");
    assert_string_equal(value(&made, "SHELL"), "/bin/sh");
    msgpack_sbuffer_destroy(&made.text);
}

static void later_wins(void **state) {
    const char *const own[] = {"PATH=/own", "HOME=/old", "LANG=C", "LANGUAGE=en", "EMPTY=", NULL};
    struct env list[] = {{"HOME", "/mine"}, {"LANG", NULL}, {"NEW", "a=b"}, {"GUESTD_JOB", "fake"}};
    struct envs envs = {4, list};
    struct childenv in = {
        .own = own, .home = "/root", .user = "u", .shell = "/bin/sh", .envs = &envs, .mark = "1-2"};
    struct made made = make(&in);

    assert_string_equal(value(&made, "PATH"), "/own");
    assert_string_equal(made.path, "/own");
    assert_string_equal(value(&made, "HOME"), "/mine");
    assert_null(value(&made, "LANG"));
    assert_string_equal(value(&made, "LANGUAGE"), "en");
    assert_string_equal(value(&made, "EMPTY"), "");
    assert_string_equal(value(&made, "NEW"), "a=b");
    assert_string_equal(value(&made, "GUESTD_JOB"), "1-2");
    msgpack_sbuffer_destroy(&made.text);
}

static void the_childs_own_path_is_searched(void **state) {
    struct env list[] = {{"PATH", "/theirs"}};
    struct envs envs = {1, list};
    struct childenv in = {.own = nothing, .home = "/", .user = "u", .shell = "s", .envs = &envs};
    struct made made = make(&in);

    assert_string_equal(made.path, "/theirs");
    msgpack_sbuffer_destroy(&made.text);
    list[0].value = NULL;
    made = make(&in);
    assert_null(value(&made, "PATH"));
    assert_string_equal(made.path, CHILDENV_PATH);
    msgpack_sbuffer_destroy(&made.text);
}

static void many_variables_are_merged(void **state) {
    enum { N = 20000 };
    struct env *list = calloc(N, sizeof(*list));
    struct envs envs = {N, list};
    struct childenv in = {.own = nothing, .home = "/", .user = "u", .shell = "s", .envs = &envs};
    static char names[N][8];
    struct made made;

    for (int i = 0; i < N; i++) {
        snprintf(names[i], sizeof(names[i]), "V%d", i / 2); /* each twice: the second wins */
        list[i] = (struct env){names[i], i % 2 ? "second" : "first"};
    }
    made = make(&in);
    assert_int_equal(made.n, 5 + N / 2);
    assert_string_equal(value(&made, "V7"), "second");
    msgpack_sbuffer_destroy(&made.text);
    free(list);
}

static void check_candidates(const char *cmd, const char *path, int n, const char *want,
                             size_t len) {
    msgpack_sbuffer out;

    msgpack_sbuffer_init(&out);
    assert_int_equal(childenv_candidates(cmd, path, &out), n);
    assert_int_equal(out.size, len);
    assert_memory_equal(out.data, want, len);
    msgpack_sbuffer_destroy(&out);
}

static void candidates_as_execvp_has_them(void **state) {
    check_candidates("ls", "/a:/b", 2, "/a/ls\0/b/ls", 12);
    check_candidates("./ls", "/a:/b", 1, "./ls", 5);
    check_candidates("/bin/ls", "", 1, "/bin/ls", 8);
    check_candidates("ls", "", 1, "./ls", 5);
    check_candidates("ls", ":/a", 2, "./ls\0/a/ls", 11);
    check_candidates("ls", "/a:", 2, "/a/ls\0./ls", 11);
    check_candidates("ls", "/a::rel", 3, "/a/ls\0./ls\0rel/ls", 18);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_child_always_has_these),
        cmocka_unit_test(later_wins),
        cmocka_unit_test(the_childs_own_path_is_searched),
        cmocka_unit_test(many_variables_are_merged),
        cmocka_unit_test(candidates_as_execvp_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
