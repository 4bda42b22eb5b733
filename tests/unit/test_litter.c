/* Temporary names: on a file system without O_TMPFILE, and after an agent that was killed. */
#include "scratch.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "files/litter.h"
#include "files/upload.h"

/* From here on this process's kernel has no O_TMPFILE. */
static bool without_tmpfile(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, O_TMPFILE & ~O_DIRECTORY, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EOPNOTSUPP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(*filter), .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static unsigned temporary_names(const char *path) {
    char command[8300];
    unsigned n = 0;

    snprintf(command, sizeof(command), "ls -A1 '%s' | grep '^\\.guestd-'", path);
    FILE *ls = popen(command, "r");
    for (int c; (c = getc(ls)) != EOF;)
        n += c == '\n';
    pclose(ls);
    return n;
}

static int upload_named(void) {
    struct upload_request request = {.path = at("dir/file")};
    struct entry_reader reader = {0};
    struct entry entry;
    struct upload upload;

    if (litter_start(at("notes")) != 0 || !without_tmpfile())
        return 1;
    if (upload_begin(&upload, &request) != 0 || !upload.temp[0])
        return 2;
    if (temporary_names("dir") != 1)
        return 3;
    if (upload_write(&upload, "new", 3) != 0 || upload_commit(&upload, &reader, &entry) != 0)
        return 4;
    upload_end(&upload);
    assert_contents("dir/file", "new");
    if (mode_of("dir/file") != 0644 || count_names("dir") != 1)
        return 5;
    /* A broken one. */
    if (upload_begin(&upload, &request) != 0 || upload_write(&upload, "half", 4) != 0)
        return 6;
    upload_end(&upload);
    assert_contents("dir/file", "new");
    if (count_names("dir") != 1)
        return 7;
    /* And of a user, whose files guestd's notes are not. */
    if (geteuid() == 0) {
        request.user = nobody();
        request.path = at("dir/theirs");
        if (upload_begin(&upload, &request) != 0 || upload_commit(&upload, &reader, &entry) != 0)
            return 8;
        upload_end(&upload);
        if (count_names("dir") != 2)
            return 9;
    }
    entry_reader_deinit(&reader);
    return 0;
}

static void a_temporary_name_does_as_well(void **state) {
    make_dir("dir", 0777);
    assert_int_equal(in_child(upload_named), 0);
}

/* An agent that is in the middle of an upload; it says so and then waits for its end. */
static void upload_and_wait(int ready) {
    const struct upload_request request = {.path = at("dir/file")};
    struct upload upload;

    if (litter_start(at("notes")) == 0 && without_tmpfile() &&
        upload_begin(&upload, &request) == 0 && write(ready, "x", 1) == 1)
        pause();
    _exit(1);
}

static pid_t start_agent(void) {
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        upload_and_wait(ready[1]);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return pid;
}

static void kill_agent(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static int start_next(void) {
    return litter_start(at("notes")) == 0 ? 0 : 1;
}

static void the_next_agent_sweeps_after_a_dead_one_only(void **state) {
    make_dir("dir", 0755);
    make_file("dir/.guestd-not-noted", "kept");
    pid_t dead = start_agent(), alive = start_agent();
    assert_int_equal(temporary_names("dir"), 3);
    kill_agent(dead);
    assert_int_equal(in_child(start_next), 0);
    assert_int_equal(temporary_names("dir"), 2);
    kill_agent(alive);
    assert_int_equal(in_child(start_next), 0);
    assert_int_equal(temporary_names("dir"), 1);
    assert_contents("dir/.guestd-not-noted", "kept");
}

static void a_note_leads_to_nothing_else(void **state) {
    make_dir("notes", 0700);
    make_dir("notes/dead", 0700);
    make_file("precious", "kept");
    assert_int_equal(symlink(at("precious"), "notes/dead/1"), 0);
    assert_int_equal(in_child(start_next), 0);
    assert_contents("precious", "kept");
    assert_false(exists("notes/dead"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_temporary_name_does_as_well, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(the_next_agent_sweeps_after_a_dead_one_only, scratch_setup,
                                        scratch_teardown),
        cmocka_unit_test_setup_teardown(a_note_leads_to_nothing_else, scratch_setup,
                                        scratch_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
