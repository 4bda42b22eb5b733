/*
 * A folder of its own for a test of files, and running a part of it as somebody else or in a world
 * of its own.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "files/user.h"

static char scratch[64];

static inline int scratch_drop(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    return remove(path);
}

static inline int scratch_setup(void **state) {
#ifdef SCRATCH_IN_MEMORY
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
#else
    const char *base = "/tmp";
#endif
    snprintf(scratch, sizeof(scratch), "%s/guestd-test-XXXXXX", base);
    umask(077); /* modes must come out exact in spite of it */
    return mkdtemp(scratch) && chmod(scratch, 0755) == 0 && chdir(scratch) == 0 ? 0 : -1;
}

static inline int scratch_teardown(void **state) {
    return chdir("/") == 0 && nftw(scratch, scratch_drop, 16, FTW_DEPTH | FTW_PHYS) == 0 ? 0 : -1;
}

/* "<scratch>/name"; a ring of them, so that a few can be had at once. */
static inline const char *at(const char *name) {
    static char ring[8][8192];
    static unsigned next;
    char *path = ring[next++ % 8];

    snprintf(path, sizeof(ring[0]), "%s%s%s", scratch, *name ? "/" : "", name);
    return path;
}

static inline void make_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(fchmod(fd, 0644), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static inline void make_dir(const char *path, mode_t mode) {
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static inline void assert_contents(const char *path, const char *text) {
    char is[256] = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(read(fd, is, sizeof(is) - 1) >= 0);
    close(fd);
    assert_string_equal(is, text);
}

static inline mode_t mode_of(const char *path) {
    struct stat st;

    assert_int_equal(lstat(path, &st), 0);
    return st.st_mode & 07777;
}

static inline bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

/* How many names a directory has. */
static inline unsigned count_names(const char *path) {
    struct stat st;
    char command[8300];
    unsigned n = 0;
    int c;

    assert_int_equal(stat(path, &st), 0);
    snprintf(command, sizeof(command), "ls -A1 '%s'", path);
    FILE *ls = popen(command, "r");
    assert_non_null(ls);
    while ((c = getc(ls)) != EOF)
        n += c == '\n';
    pclose(ls);
    return n;
}

static inline unsigned count_fds(void) {
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static inline void need_root(void) {
    if (geteuid() != 0)
        skip();
}

/* Runs `part` in a child; it returns what it found, a small number. */
static inline int in_child(int (*part)(void)) {
    int status;

    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(part() & 0x7f);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define NO_NAMESPACE 0x7f

/* For a child: mounts of its own. False where that isn't allowed. */
static inline bool own_mounts(void) {
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static inline const struct identity *nobody(void) {
    static gid_t groups[] = {65534, 4242};
    static const struct identity identity = {
        .uid = 65534, .gid = 65534, .groups = groups, .n_groups = 2};
    return &identity;
}
