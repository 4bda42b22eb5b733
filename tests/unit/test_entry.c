/* Entries: every type, every permission letter, names and numbers of owners. */
#include "scratch.h"

#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#include "files/entry.h"

static struct entry_reader reader;

static struct entry look(const char *path) {
    struct entry entry;

    assert_int_equal(entry_read(&reader, AT_FDCWD, path, false, path, &entry), 0);
    return entry;
}

static void permissions_are_those_of_ls(void **state) {
    static const struct {
        unsigned mode;
        const char *text;
    } cases[] = {
        {S_IFREG | 0644, "-rw-r--r--"},  {S_IFDIR | 0755, "drwxr-xr-x"},
        {S_IFLNK | 0777, "lrwxrwxrwx"},  {S_IFIFO | 0600, "prw-------"},
        {S_IFSOCK | 0140, "s--xr-----"}, {S_IFCHR | 0666, "crw-rw-rw-"},
        {S_IFBLK | 0660, "brw-rw----"},  {S_IFREG | 04755, "-rwsr-xr-x"},
        {S_IFREG | 04644, "-rwSr--r--"}, {S_IFREG | 02755, "-rwxr-sr-x"},
        {S_IFREG | 02745, "-rwxr-Sr-x"}, {S_IFDIR | 01777, "drwxrwxrwt"},
        {S_IFDIR | 01776, "drwxrwxrwT"}, {S_IFREG | 07000, "---S--S--T"},
        {S_IFREG | 07777, "-rwsrwsrwt"}, {S_IFREG | 0, "----------"},
    };
    char is[11];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        entry_permissions(cases[i].mode, is);
        assert_string_equal(is, cases[i].text);
    }
}

static void a_file_has_all_its_facts(void **state) {
    make_file("file", "12345");
    assert_int_equal(chmod("file", 0640), 0);
    struct timespec times[2] = {{1, 0}, {1730000000, 999999999}};
    assert_int_equal(utimensat(AT_FDCWD, "file", times, 0), 0);
    const char *path = at("file");
    struct entry entry = look(path);
    assert_string_equal(entry.name, "file");
    assert_ptr_equal(entry.path, path);
    assert_int_equal(entry.size, 5);
    assert_int_equal(entry.mode, 0640);
    assert_string_equal(entry.permissions, "-rw-r-----");
    assert_int_equal(entry.modified_at, 1730000000);
    assert_null(entry.symlink_target);
    assert_string_equal(entry_type_name(entry.type), "file");
}

static void every_type_has_its_name(void **state) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "socket"};

    make_dir("dir", 0755);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(symlink("no\xffwhere", "link"), 0);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
    assert_string_equal(entry_type_name(look("dir").type), "directory");
    assert_string_equal(entry_type_name(look("fifo").type), "fifo");
    assert_string_equal(entry_type_name(look("socket").type), "socket");
    assert_string_equal(entry_type_name(look("/dev/null").type), "char_device");
    struct entry link = look("link");
    assert_string_equal(entry_type_name(link.type), "symlink");
    assert_string_equal(link.symlink_target, "no\xffwhere");
    if (geteuid() == 0 && mknod("block", S_IFBLK | 0600, makedev(7, 200)) == 0)
        assert_string_equal(entry_type_name(look("block").type), "block_device");
}

static void following_shows_what_is_behind(void **state) {
    struct entry entry;

    make_file("file", "1");
    assert_int_equal(symlink("file", "link"), 0);
    assert_int_equal(symlink("none", "dangling"), 0);
    assert_int_equal(entry_read(&reader, AT_FDCWD, "link", true, "/x/link", &entry), 0);
    assert_int_equal(entry.type, ENTRY_FILE);
    assert_string_equal(entry.name, "link");
    assert_null(entry.symlink_target);
    assert_int_equal(entry_read(&reader, AT_FDCWD, "dangling", true, "/x", &entry), -ENOENT);
}

static void owners_are_names_or_numbers(void **state) {
    need_root();
    make_file("file", "1");
    assert_string_equal(look("file").owner, "root");
    assert_string_equal(look("file").group, "root");
    assert_int_equal(chown("file", 123456, 654321), 0);
    assert_string_equal(look("file").owner, "123456");
    assert_string_equal(look("file").group, "654321");
}

static void the_root_is_called_slash(void **state) {
    assert_string_equal(look("/").name, "/");
    assert_string_equal(look("/").path, "/");
}

static int reader_teardown(void **state) {
    entry_reader_deinit(&reader);
    return scratch_teardown(state);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permissions_are_those_of_ls),
        cmocka_unit_test_setup_teardown(a_file_has_all_its_facts, scratch_setup, reader_teardown),
        cmocka_unit_test_setup_teardown(every_type_has_its_name, scratch_setup, reader_teardown),
        cmocka_unit_test_setup_teardown(following_shows_what_is_behind, scratch_setup,
                                        reader_teardown),
        cmocka_unit_test_setup_teardown(owners_are_names_or_numbers, scratch_setup,
                                        reader_teardown),
        cmocka_unit_test_setup_teardown(the_root_is_called_slash, scratch_setup, reader_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
