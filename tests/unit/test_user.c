/* Users: passwd and group text of all kinds, and a thread that takes one on. */
#include "scratch.h"

#include <pthread.h>
#include <sys/syscall.h>

#include "files/etc.h"
#include "files/files.h"
#include "files/names.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/bash\n"
                             "broken line\n"
                             "+nis::::::\n"
                             "bad:x:-1:0::/:/bin/sh\n"
                             "huge:x:4294967295:0::/:/bin/sh\n"
                             "user:x:1000:1000:A User,,,:/home/user:/bin/zsh\n"
                             "bare:x:7:8:::\n"
                             "last:x:9:9::/last:/bin/sh";
static const char group[] = "root:x:0:\n"
                            "user:x:1000:\n"
                            "docker:x:999:other,user\n"
                            "users:x:100:userx,xuser\n"
                            "audio:x:29:user,last\n"
                            "same:x:1000:user\n"
                            "three:x:3\n";

static int resolve(const char *spec, struct identity *ret) {
    return user_resolve_in(passwd, group, spec, ret);
}

static void a_name_brings_its_groups(void **state) {
    struct identity id;

    assert_int_equal(resolve("user", &id), 0);
    assert_int_equal(id.uid, 1000);
    assert_int_equal(id.gid, 1000);
    assert_int_equal(id.n_groups, 3);
    assert_int_equal(id.groups[0], 1000);
    assert_int_equal(id.groups[1], 999);
    assert_int_equal(id.groups[2], 29);
    assert_string_equal(id.name, "user");
    assert_string_equal(id.home, "/home/user");
    assert_string_equal(id.shell, "/bin/zsh");
    identity_deinit(&id);
    identity_deinit(&id);
}

static void a_number_is_a_known_user_or_just_a_number(void **state) {
    struct identity id;

    assert_int_equal(resolve("1000", &id), 0);
    assert_string_equal(id.name, "user");
    assert_int_equal(id.n_groups, 3);
    identity_deinit(&id);
    assert_int_equal(resolve("4711", &id), 0);
    assert_int_equal(id.uid, 4711);
    assert_int_equal(id.gid, 4711);
    assert_int_equal(id.n_groups, 1);
    assert_string_equal(id.name, "4711");
    assert_string_equal(id.home, "/");
    assert_string_equal(id.shell, "/bin/sh");
    identity_deinit(&id);
}

static void a_group_may_be_named_too(void **state) {
    struct identity id;

    assert_int_equal(resolve("user:docker", &id), 0);
    assert_int_equal(id.gid, 999);
    assert_int_equal(id.n_groups, 3);
    assert_int_equal(id.groups[0], 999);
    identity_deinit(&id);
    assert_int_equal(resolve("5:6", &id), 0);
    assert_int_equal(id.uid, 5);
    assert_int_equal(id.gid, 6);
    identity_deinit(&id);
    assert_int_equal(resolve("user:three", &id), 0);
    assert_int_equal(id.gid, 3);
    identity_deinit(&id);
}

static void empty_fields_have_answers(void **state) {
    struct identity id;

    assert_int_equal(resolve("bare", &id), 0);
    assert_string_equal(id.home, "/");
    assert_string_equal(id.shell, "/bin/sh");
    identity_deinit(&id);
    assert_int_equal(resolve("last", &id), 0);
    assert_string_equal(id.shell, "/bin/sh");
    identity_deinit(&id);
}

static void who_is_not_there_is_not_found(void **state) {
    static const char *const specs[] = {"nobody", "use", "users", "user:none",
                                        "+nis",   "bad", "huge",  "broken line"};
    struct identity id = {.uid = 77};

    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++)
        assert_int_equal(resolve(specs[i], &id), -ENOENT);
    assert_int_equal(id.uid, 77);
    assert_int_equal(user_resolve_in("", "", "root", &id), -ENOENT);
    assert_int_equal(user_resolve_in("", "", "0", &id), 0);
    assert_string_equal(id.name, "0");
    identity_deinit(&id);
}

static void what_makes_no_sense_is_malformed(void **state) {
    static const char *const specs[] = {"",      ":",          "user:",       ":user",
                                        "a:b:c", "4294967295", "99999999999", "1:4294967295"};
    struct identity id;

    for (size_t i = 0; i < sizeof(specs) / sizeof(*specs); i++)
        assert_int_equal(resolve(specs[i], &id), -EINVAL);
    assert_int_equal(user_find("", &id), FILES_BAD_USER);
    assert_int_equal(user_find("no-such-user-here", &id), FILES_NO_USER);
}

static void no_spec_is_guestd_itself(void **state) {
    struct identity id;

    assert_int_equal(user_resolve(NULL, &id), 0);
    assert_int_equal(id.uid, geteuid());
    identity_deinit(&id);
    assert_int_equal(user_find(NULL, &id), 0);
    assert_null(id.name);
}

static void a_file_that_is_none_reads_as_empty(void **state) {
    assert_int_equal(mkfifo("fifo", 0600), 0);
    make_file("big", "");
    assert_int_equal(truncate("big", ETC_MAX + 1), 0);
    static const char *const paths[] = {"fifo", "big", ".", "missing", "/dev/zero"};

    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
        char *text = etc_load(paths[i]);
        assert_string_equal(text, "");
        free(text);
    }
}

static void names_are_found_or_are_numbers(void **state) {
    struct names names = {0};

    assert_string_equal(names_user(&names, 0), "root");
    assert_string_equal(names_user(&names, 123456), "123456");
    assert_string_equal(names_user(&names, 123456 + NAMES_SLOTS), "123520"); /* the same slot */
    assert_string_equal(names_user(&names, 123456), "123456");
    assert_string_equal(names_group(&names, 0), "root");
    names_deinit(&names);
    names_deinit(&names);
}

static pthread_barrier_t barrier;

/* Was there before, and looks while the first thread is somebody else. */
static void *look_meanwhile(void *arg) {
    pthread_barrier_wait(&barrier);
    uintptr_t uid = (uintptr_t)syscall(SYS_setfsuid, -1);
    int groups = getgroups(0, NULL);
    pthread_barrier_wait(&barrier);
    return (void *)(uid == 0 && groups == *(int *)arg ? uid : 1);
}

static void one_thread_alone_takes_it_on(void **state) {
    pthread_t thread;
    void *other;

    need_root();
    make_file("mine", "x");
    assert_int_equal(chmod("mine", 0600), 0);
    int groups = getgroups(0, NULL);
    pthread_barrier_init(&barrier, NULL, 2);
    assert_int_equal(pthread_create(&thread, NULL, look_meanwhile, &groups), 0);
    assert_int_equal(identity_assume(nobody()), 0);
    assert_int_equal(open("mine", O_RDONLY), -1);
    assert_int_equal(errno, EACCES);
    assert_int_equal(getgroups(0, NULL), 2);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    pthread_join(thread, &other);
    assert_null(other);
    identity_restore();
    assert_int_equal(getgroups(0, NULL), groups);
    int fd = open("mine", O_RDONLY);
    assert_true(fd >= 0);
    close(fd);
}

static int without_privilege(void) {
    struct identity self = {.uid = 1234, .gid = 1234};

    if (setgid(1234) < 0 || setuid(1234) < 0)
        return 1;
    if (identity_assume(nobody()) != -EPERM)
        return 2;
    if (identity_assume(&self) != 0)
        return 3;
    identity_restore();
    return 0;
}

static void without_privilege_only_oneself(void **state) {
    need_root();
    assert_int_equal(in_child(without_privilege), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_brings_its_groups),
        cmocka_unit_test(a_number_is_a_known_user_or_just_a_number),
        cmocka_unit_test(a_group_may_be_named_too),
        cmocka_unit_test(empty_fields_have_answers),
        cmocka_unit_test(who_is_not_there_is_not_found),
        cmocka_unit_test(what_makes_no_sense_is_malformed),
        cmocka_unit_test(no_spec_is_guestd_itself),
        cmocka_unit_test_setup_teardown(a_file_that_is_none_reads_as_empty, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(names_are_found_or_are_numbers),
        cmocka_unit_test_setup_teardown(one_thread_alone_takes_it_on, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test(without_privilege_only_oneself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
