/* Uploads: the old file or the new one, whatever happens, and never anything else. */
#include "scratch.h"

#include <sha2.h>
#include <signal.h>

#include "files/files.h"
#include "files/upload.h"

static struct entry_reader reader;
static struct entry entry;

static int put(const struct upload_request *request, const char *text) {
    return upload_whole(request, text, strlen(text), &reader, &entry);
}

static int put_at(const char *path, const char *text) {
    const struct upload_request request = {.path = path};
    return put(&request, text);
}

/* Names that are left beside what belongs there. */
static unsigned litter(void) {
    return count_names(".");
}

static void a_new_file_is_0644_and_an_old_one_keeps_its_mode(void **state) {
    assert_int_equal(put_at(at("file"), "one"), 0);
    assert_contents("file", "one");
    assert_int_equal(mode_of("file"), 0644);
    assert_string_equal(entry.name, "file");
    assert_int_equal(entry.size, 3);
    assert_int_equal(entry.type, ENTRY_FILE);
    assert_int_equal(chmod("file", 04711), 0);
    assert_int_equal(put_at(at("file"), "two!"), 0);
    assert_contents("file", "two!");
    assert_int_equal(mode_of("file"), 04711);
    assert_int_equal(put_at(at("file"), ""), 0);
    assert_contents("file", "");
    assert_int_equal(litter(), 1);
}

static void a_given_mode_is_exact(void **state) {
    struct upload_request request = {.path = at("file"), .has_mode = true, .mode = 0666};

    assert_int_equal(put(&request, "x"), 0);
    assert_int_equal(mode_of("file"), 0666);
    request.mode = 0;
    assert_int_equal(put(&request, "y"), 0);
    assert_int_equal(mode_of("file"), 0);
    request.path = at("other");
    request.way = UPLOAD_IN_PLACE;
    request.mode = 0604;
    assert_int_equal(put(&request, "y"), 0);
    assert_int_equal(mode_of("other"), 0604);
}

static void an_owner_is_kept(void **state) {
    struct stat st;

    need_root();
    make_file("file", "old");
    assert_int_equal(chown("file", 1234, 4321), 0);
    assert_int_equal(put_at(at("file"), "new"), 0);
    assert_int_equal(stat("file", &st), 0);
    assert_int_equal(st.st_uid, 1234);
    assert_int_equal(st.st_gid, 4321);
    assert_string_equal(entry.owner, "1234");
}

static void the_old_file_stays_for_who_has_it_open(void **state) {
    char is[8] = {0};

    make_file("file", "old");
    int fd = open("file", O_RDONLY);
    assert_int_equal(put_at(at("file"), "newer"), 0);
    assert_int_equal(read(fd, is, sizeof(is)), 3);
    assert_string_equal(is, "old");
    close(fd);
}

static void a_broken_upload_leaves_nothing(void **state) {
    const struct upload_request request = {.path = at("file")};
    const unsigned before = count_fds();
    struct upload upload;

    make_file("file", "old");
    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "half", 4), 0);
    assert_contents("file", "old");
    upload_end(&upload);
    upload_end(&upload);
    assert_contents("file", "old");
    assert_int_equal(litter(), 1);
    assert_int_equal(count_fds(), before);
}

static void size_and_digest_are_checked_first(void **state) {
    uint8_t digest[32];
    struct upload_request request = {.path = at("file"), .has_size = true, .size = 4};
    struct upload upload;

    make_file("file", "old");
    assert_int_equal(put(&request, "12345"), FILES_SIZE);
    assert_int_equal(put(&request, "123"), FILES_SIZE);
    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "123", 3), 0);
    assert_int_equal(upload_write(&upload, "45", 2), FILES_SIZE);
    assert_int_equal(upload_commit(&upload, &reader, &entry), FILES_SIZE);
    upload_end(&upload);
    assert_contents("file", "old");

    SHA2_CTX sha;
    SHA256Init(&sha);
    SHA256Update(&sha, (const uint8_t *)"1234", 4);
    SHA256Final(digest, &sha);
    request.sha256 = digest;
    assert_int_equal(put(&request, "1235"), FILES_SHA256);
    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "1235", 4), 0);
    assert_int_equal(upload_commit(&upload, &reader, &entry), FILES_SHA256);
    upload_end(&upload);
    assert_contents("file", "old");
    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "12", 2), 0);
    assert_int_equal(upload_write(&upload, "34", 2), 0);
    assert_int_equal(upload_commit(&upload, &reader, &entry), 0);
    upload_end(&upload);
    assert_contents("file", "1234");
    assert_int_equal(litter(), 1);
}

static void symlinks_at_the_end_are_followed(void **state) {
    make_dir("dir", 0755);
    make_file("dir/file", "old");
    assert_int_equal(symlink("dir/file", "link"), 0);
    assert_int_equal(symlink("dir/new", "dangling"), 0);
    assert_int_equal(put_at(at("link"), "new"), 0);
    assert_contents("dir/file", "new");
    assert_int_equal(entry.type, ENTRY_FILE);
    assert_int_equal(put_at(at("dangling"), "made"), 0);
    assert_contents("dir/new", "made");
    struct stat st;
    assert_int_equal(lstat("link", &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(count_names("dir"), 2);
}

static void parents_are_made_only_if_asked(void **state) {
    struct upload_request request = {.path = at("a/b/file")};

    assert_int_equal(put(&request, "x"), -ENOENT);
    assert_false(exists("a"));
    request.create_parents = true;
    assert_int_equal(put(&request, "x"), 0);
    assert_contents("a/b/file", "x");
    assert_int_equal(mode_of("a"), 0755);
    make_file("f", "x");
    request.path = at("f/file");
    assert_int_equal(put(&request, "x"), -ENOTDIR);
}

static void what_is_no_file_is_never_replaced(void **state) {
    static const enum upload_way ways[] = {UPLOAD_REPLACE, UPLOAD_ATOMIC, UPLOAD_IN_PLACE,
                                           UPLOAD_APPEND, UPLOAD_AT};
    const unsigned before = count_fds();

    assert_int_equal(mkfifo("fifo", 0600), 0);
    make_dir("dir", 0755);
    assert_int_equal(symlink("/dev/null", "null"), 0);
    for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
        struct upload_request request = {.path = at("fifo"), .way = ways[i]};
        assert_int_equal(put(&request, "x"), FILES_NOT_REGULAR);
        request.path = at("null");
        assert_int_equal(put(&request, "x"), FILES_NOT_REGULAR);
        request.path = "/dev/zero";
        assert_int_equal(put(&request, "x"), FILES_NOT_REGULAR);
        request.path = at("dir");
        assert_int_equal(put(&request, "x"), -EISDIR);
        request.path = "/";
        assert_int_equal(put(&request, "x"), -EISDIR);
    }
    assert_int_equal(litter(), 3);
    assert_int_equal(count_fds(), before);
}

static void what_comes_into_the_place_meanwhile_stays(void **state) {
    const struct upload_request request = {.path = at("file")};
    struct upload upload;

    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "new", 3), 0);
    make_dir("file", 0755);
    assert_int_equal(upload_commit(&upload, &reader, &entry), -EISDIR);
    upload_end(&upload);
    assert_int_equal(rmdir("file"), 0);
    assert_int_equal(upload_begin(&upload, &request), 0);
    assert_int_equal(upload_write(&upload, "new", 3), 0);
    make_file("file", "meanwhile");
    assert_int_equal(upload_commit(&upload, &reader, &entry), 0);
    upload_end(&upload);
    assert_contents("file", "new");
    assert_int_equal(litter(), 1);
}

static void pieces_are_written_in_place(void **state) {
    struct upload_request request = {.path = at("file"), .way = UPLOAD_APPEND};
    struct stat before, after;

    assert_int_equal(put(&request, "12"), 0);
    assert_int_equal(mode_of("file"), 0644);
    assert_int_equal(stat("file", &before), 0);
    assert_int_equal(put(&request, "34"), 0);
    assert_contents("file", "1234");
    request.way = UPLOAD_AT;
    request.off = 1;
    assert_int_equal(put(&request, "xy"), 0);
    assert_contents("file", "1xy4");
    request.off = 4;
    assert_int_equal(put(&request, "5"), 0);
    assert_contents("file", "1xy45");
    request.off = 6;
    assert_int_equal(put(&request, "7"), FILES_BEYOND_END);
    assert_contents("file", "1xy45");
    request.way = UPLOAD_IN_PLACE;
    assert_int_equal(put(&request, "all"), 0);
    assert_contents("file", "all");
    assert_int_equal(stat("file", &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
}

static void a_running_program_can_be_replaced(void **state) {
    assert_int_equal(system("cp /bin/sleep program && chmod 755 program"), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("program", "program", "100", NULL);
        _exit(1);
    }
    /* It runs as soon as writing it is refused. */
    int fd, err = 0;
    for (int i = 0; i < 5000 && err != ETXTBSY; i++) {
        fd = open("program", O_WRONLY);
        err = fd < 0 ? errno : 0;
        if (fd >= 0)
            close(fd);
        usleep(1000);
    }
    assert_int_equal(err, ETXTBSY);
    assert_int_equal(put_at(at("program"), "new"), 0);
    assert_contents("program", "new");
    assert_int_equal(mode_of("program"), 0755);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* ── users ── */

static int upload_as_nobody(void) {
    struct upload_request request = {.user = nobody()};

    request.path = at("open/readonly"); /* the directory would allow to replace it */
    if (put(&request, "x") != -EACCES)
        return 1;
    request.path = at("open/shared"); /* root's, but everybody may write */
    if (put(&request, "new") != 0)
        return 2;
    request.has_mode = true;
    request.mode = 0600;
    if (put(&request, "newer") != FILES_NOT_OWNER)
        return 3;
    request.way = UPLOAD_APPEND;
    if (put(&request, "newer") != FILES_NOT_OWNER)
        return 4;
    request.way = UPLOAD_REPLACE;
    request.path = at("open/mine");
    if (put(&request, "x") != 0)
        return 5;
    request.has_mode = false;
    request.path = at("closed/shared"); /* its directory takes no new files: in place */
    if (put(&request, "new") != 0)
        return 6;
    request.way = UPLOAD_ATOMIC;
    if (put(&request, "newer") != -EACCES)
        return 7;
    request.path = at("closed/new");
    if (put(&request, "x") != -EACCES)
        return 8;
    request.path = at("open/a/b/file");
    request.create_parents = true;
    if (put(&request, "x") != 0)
        return 9;
    return getgroups(0, NULL) == 2 ? 10 : 0;
}

static void assert_owner(const char *path, uid_t uid) {
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_uid, uid);
}

static void a_user_may_do_what_the_user_may(void **state) {
    need_root();
    make_dir("open", 0777);
    make_dir("closed", 0755);
    make_file("open/readonly", "old");
    make_file("open/shared", "old");
    make_file("closed/shared", "old");
    assert_int_equal(chmod("open/shared", 04666), 0);
    assert_int_equal(chmod("closed/shared", 0666), 0);
    assert_int_equal(in_child(upload_as_nobody), 0);
    assert_contents("open/readonly", "old");
    assert_contents("open/shared", "new");
    assert_int_equal(mode_of("open/shared"), 0666); /* set-user-id goes when another writes */
    assert_owner("open/shared", 0);
    assert_contents("closed/shared", "new");
    assert_owner("open/mine", 65534);
    assert_int_equal(mode_of("open/mine"), 0600);
    assert_owner("open/a", 65534);
    assert_owner("open/a/b/file", 65534);
    assert_int_equal(count_names("open"), 4);
    assert_int_equal(count_names("closed"), 1);
}

/* ── where a rename can't be ── */

static int upload_over_a_mount(void) {
    struct upload_request request = {.path = at("target")};
    uint8_t wrong[32] = {0};

    if (!own_mounts())
        return NO_NAMESPACE;
    make_file("target", "");
    make_file("source", "old");
    if (mount("source", "target", NULL, MS_BIND, NULL))
        return 1;
    if (put(&request, "new") != 0)
        return 2;
    assert_contents("source", "new");
    request.way = UPLOAD_ATOMIC;
    if (put(&request, "newer") != -EBUSY)
        return 3;
    request.way = UPLOAD_REPLACE;
    request.sha256 = wrong;
    if (put(&request, "newer") != FILES_SHA256)
        return 4;
    assert_contents("source", "new");
    return count_names(".") == 2 ? 0 : 5;
}

static void a_bind_mounted_file_is_written_in_place(void **state) {
    need_root();
    int r = in_child(upload_over_a_mount);
    if (r == NO_NAMESPACE)
        skip();
    assert_int_equal(r, 0);
}

static void proc_is_written_in_place(void **state) {
    struct upload_request request = {.path = "/proc/self/comm"};

    assert_int_equal(put(&request, "renamed"), 0);
    assert_contents("/proc/self/comm", "renamed\n");
    request.way = UPLOAD_ATOMIC;
    assert_true(put(&request, "again") < 0);
    assert_contents("/proc/self/comm", "renamed\n");
}

static int upload_to_full_disk(void) {
    struct upload_request request = {.path = at("small/file"), .sync = true};
    static uint8_t much[256 << 10];
    struct upload upload;
    int r;

    if (!own_mounts())
        return NO_NAMESPACE;
    make_dir("small", 0755);
    if (mount("none", "small", "tmpfs", 0, "size=1m"))
        return 1;
    if (put(&request, "old") != 0)
        return 2;
    if (upload_begin(&upload, &request) != 0)
        return 3;
    for (r = 0; r == 0;)
        r = upload_write(&upload, much, sizeof(much));
    upload_end(&upload);
    if (r != -ENOSPC)
        return 4;
    assert_contents("small/file", "old");
    if (count_names("small") != 1)
        return 5;
    /* What was staged is free again. */
    return put(&request, "new") == 0 ? 0 : 6;
}

static void a_full_disk_keeps_the_old_file(void **state) {
    need_root();
    int r = in_child(upload_to_full_disk);
    if (r == NO_NAMESPACE)
        skip();
    assert_int_equal(r, 0);
}

static int setup(void **state) {
    return scratch_setup(state);
}

static int teardown(void **state) {
    entry_reader_deinit(&reader);
    return scratch_teardown(state);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(a_new_file_is_0644_and_an_old_one_keeps_its_mode),
        CASE(a_given_mode_is_exact),
        CASE(an_owner_is_kept),
        CASE(the_old_file_stays_for_who_has_it_open),
        CASE(a_broken_upload_leaves_nothing),
        CASE(size_and_digest_are_checked_first),
        CASE(symlinks_at_the_end_are_followed),
        CASE(parents_are_made_only_if_asked),
        CASE(what_is_no_file_is_never_replaced),
        CASE(what_comes_into_the_place_meanwhile_stays),
        CASE(pieces_are_written_in_place),
        CASE(a_running_program_can_be_replaced),
        CASE(a_user_may_do_what_the_user_may),
        CASE(a_bind_mounted_file_is_written_in_place),
        CASE(proc_is_written_in_place),
        CASE(a_full_disk_keeps_the_old_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
