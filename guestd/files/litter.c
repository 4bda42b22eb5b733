#include "files/litter.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files/dir.h"
#include "files/path.h"
#include "files/tree_mkdir.h"

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* This agent's folder; -1 until litter_start. One process, one set of notes. */
static _Atomic int folder = -1;
static _Atomic unsigned last_note;

/* Removes what a note leads to, and the note. */
static void sweep_note(int dead, const char *note) {
    char path[PATH_MAX + 1];

    ssize_t n = readlinkat(dead, note, path, PATH_MAX);
    if (n < 0)
        return;
    path[n] = '\0';
    if (!strncmp(path_name(path), LITTER_PREFIX, strlen(LITTER_PREFIX)))
        unlink(path);
    unlinkat(dead, note, 0);
}

static void sweep_folder(int base, const char *name) {
    const char *note;
    unsigned char type;
    struct dir dir;

    int fd = openat(base, name, OPEN_FOLDER);
    if (fd < 0)
        return;
    dir_init(&dir, fd);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        while (dir_next(&dir, &note, &type) == 1)
            sweep_note(fd, note);
        unlinkat(base, name, AT_REMOVEDIR);
    }
    dir_deinit(&dir);
}

static int make_folder(int base) {
    char name[20];
    uint64_t random;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
        random = (uint64_t)getpid();
    snprintf(name, sizeof(name), "%016llx", (unsigned long long)random);
    if (mkdirat(base, name, 0700) < 0)
        return -errno;
    int fd = openat(base, name, OPEN_FOLDER);
    if (fd < 0)
        return -errno;
    flock(fd, LOCK_EX | LOCK_NB);
    return fd;
}

static int start(const char *path) {
    const struct tree_mkdir request = {
        .path = path, .mode = 0700, .has_mode = true, .parents = true};
    const char *name;
    unsigned char type;
    struct dir dir;
    bool created;

    int fd = tree_mkdir(&request, &created);
    if (fd < 0)
        return fd;
    int base = openat(fd, ".", OPEN_FOLDER);
    close(fd);
    if (base < 0)
        return -errno;
    dir_init(&dir, base);
    while (dir_next(&dir, &name, &type) == 1)
        sweep_folder(base, name);
    fd = make_folder(base);
    dir_deinit(&dir);
    if (fd < 0)
        return fd;
    atomic_store(&folder, fd);
    return 0;
}

int litter_start(const char *path) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static bool started;
    int r = 0;

    pthread_mutex_lock(&lock);
    if (!started)
        r = start(path);
    started = true;
    pthread_mutex_unlock(&lock);
    return r;
}

unsigned litter_note(int dir, const char *name) {
    char link[32], path[PATH_MAX + NAME_MAX + 2], note[16];
    const int fd = atomic_load(&folder);

    if (fd < 0)
        return 0;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
    ssize_t n = readlink(link, path, PATH_MAX);
    if (n <= 0)
        return 0;
    snprintf(path + n, sizeof(path) - (size_t)n, "/%s", name);
    unsigned number = atomic_fetch_add(&last_note, 1) + 1;
    snprintf(note, sizeof(note), "%u", number);
    return symlinkat(path, fd, note) == 0 ? number : 0;
}

void litter_forget(unsigned number) {
    char note[16];

    if (!number)
        return;
    snprintf(note, sizeof(note), "%u", number);
    unlinkat(atomic_load(&folder), note, 0);
}
