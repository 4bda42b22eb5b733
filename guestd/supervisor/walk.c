#include "supervisor/walk.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/send.h"

#define KILL_FOR_NS (2 * SECOND_NS) /* what hasn't died by then hangs in the kernel */
#define KILL_FOR_AT_MOST_NS (30 * SECOND_NS)
#define PAUSE_NS (500 * 1000)
#define ENVIRON_MAX (256u << 10)

struct process {
    pid_t pid, parent, session;
    char state;
    bool member;
    unsigned long long started; /* in ticks since boot: with the pid it names a process for ever */
};

struct census {
    struct process *all;
    unsigned count, room;
};

/* proc_pid_stat(5). The name may hold spaces and brackets, so the fields count from the last
 * bracket. */
static bool read_process(int proc, pid_t pid, struct process *ret) {
    char path[32], text[1024];
    snprintf(path, sizeof path, "%d/stat", (int)pid);
    int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    if (len <= 0)
        return false;
    text[len] = 0;
    const char *after = strrchr(text, ')');
    int parent, group, session;
    struct process found = {.pid = pid};
    if (after == NULL ||
        sscanf(after + 1,
               " %c %d %d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
               &found.state, &parent, &group, &session, &found.started) != 5)
        return false;
    found.parent = parent;
    found.session = session;
    *ret = found;
    return true;
}

static int by_pid(const void *a, const void *b) {
    return ((const struct process *)a)->pid - ((const struct process *)b)->pid;
}

static bool read_all(int proc, struct census *census) {
    census->count = 0;
    int fd = openat(proc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    if (directory == NULL) {
        if (fd >= 0)
            close(fd);
        return false;
    }
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (census->count == census->room) {
            unsigned room = census->room > 0 ? census->room * 2 : 256;
            struct process *grown = realloc(census->all, room * sizeof *grown);
            if (grown == NULL)
                break;
            census->all = grown;
            census->room = room;
        }
        census->count += read_process(proc, atoi(entry->d_name), &census->all[census->count]);
    }
    closedir(directory);
    /* /proc lists them in this order; it just isn't promised. */
    qsort(census->all, census->count, sizeof *census->all, by_pid);
    return true;
}

static bool carries(const struct walk *walk, pid_t pid) {
    char path[32];
    snprintf(path, sizeof path, "%d/environ", (int)pid);
    int fd = openat(walk->proc, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    size_t room = 4096, len = 0, mark = strlen(walk->mark) + 1;
    char *text = malloc(room);
    bool found = false;
    while (text != NULL) {
        ssize_t got = read(fd, text + len, room - len);
        if (got <= 0)
            break;
        len += (size_t)got;
        if (len < room)
            continue;
        char *grown = room < ENVIRON_MAX ? realloc(text, room * 2) : NULL;
        if (grown == NULL)
            break;
        text = grown;
        room *= 2;
    }
    for (size_t at = 0; text != NULL && at + mark <= len && !found;) {
        found = memcmp(text + at, walk->mark, mark) == 0;
        const char *nul = memchr(text + at, 0, len - at);
        at = nul != NULL ? (size_t)(nul - text) + 1 : len;
    }
    free(text);
    close(fd);
    return found;
}

static struct process *find(struct census *census, pid_t pid) {
    struct process key = {.pid = pid};
    return bsearch(&key, census->all, census->count, sizeof key, by_pid);
}

static void mark_members(const struct walk *walk, struct census *census) {
    /* Somebody has the number of a leader that is gone: then its session is none of ours. */
    bool number_reused = walk->leader_gone && find(census, walk->leader) != NULL;
    for (unsigned i = 0; i < census->count; i++) {
        struct process *process = &census->all[i];
        if (process->pid == walk->self)
            continue;
        process->member = (process->session == walk->leader && !number_reused) ||
                          (process->pid == walk->leader && !walk->leader_gone) ||
                          (process->parent == walk->self && carries(walk, process->pid));
    }
    for (bool more = true; more;) {
        more = false;
        for (unsigned i = 0; i < census->count; i++) {
            struct process *process = &census->all[i];
            if (process->member || process->pid == walk->self)
                continue;
            const struct process *parent = find(census, process->parent);
            process->member = parent != NULL && parent->member;
            more |= process->member;
        }
    }
}

/* To the very process that was seen, not to one that has its pid now. */
static bool hit(const struct walk *walk, const struct process *process, int signal) {
    int pidfd = send_open(process->pid);
    if (pidfd < 0 && errno == ESRCH)
        return false;
    struct process now;
    bool same = read_process(walk->proc, process->pid, &now) && now.started == process->started;
    bool sent = same && send_signal(pidfd, process->pid, signal) == 0;
    if (pidfd >= 0)
        close(pidfd);
    return sent;
}

static bool is_alive_member(const struct process *process) {
    return process->member && process->state != 'Z' && process->state != 'X';
}

/* One look and one signal to all. Returns how many were there; `fresh`: how many of them, the
 * leader aside, not in `known` (they are added). */
static unsigned pass(struct walk *walk, struct census *census, int signal, struct pids *known,
                     unsigned *fresh) {
    unsigned count = 0;
    *fresh = 0;
    if (!read_all(walk->proc, census))
        return 0;
    mark_members(walk, census);
    for (unsigned i = 0; i < census->count; i++) {
        const struct process *process = &census->all[i];
        if (!is_alive_member(process))
            continue;
        count++;
        bool reached = signal != 0 && hit(walk, process, signal);
        if (process->pid == walk->leader)
            continue;
        if (reached)
            pids_add(&walk->hit, process->pid);
        *fresh += !pids_has(known, process->pid);
        pids_add(known, process->pid);
    }
    return count;
}

/*
 * Stop them until a pass finds nobody new, so that none forks faster than we kill; kill; and again
 * until none is left, or those left have had their SIGKILL for long.
 */
static void kill_all(struct walk *walk, struct census *census) {
    int64_t end = clock_now() + KILL_FOR_NS, last = clock_now() + KILL_FOR_AT_MOST_NS;
    unsigned left, fresh, stopped;
    struct pids killed = {0};
    do {
        struct pids known = {0};
        do {
            left = pass(walk, census, SIGSTOP, &known, &stopped);
        } while (stopped > 0 && clock_now() < last);
        pids_deinit(&known);
        fresh = 0;
        if (left > 0)
            left = pass(walk, census, SIGKILL, &killed, &fresh);
        if (left > 0)
            nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    } while (left > 0 && clock_now() < (fresh > 0 ? last : end));
    pids_deinit(&killed);
}

void walk_run(struct chore *chore) {
    struct walk *walk = container_of(chore, struct walk, chore);
    struct census census = {0};
    struct pids seen = {0};
    unsigned fresh;
    if (walk->signal == SIGKILL)
        kill_all(walk, &census);
    else if (walk->signal != 0)
        pass(walk, &census, walk->signal, &seen, &fresh);
    pids_deinit(&seen);
    pass(walk, &census, 0, &walk->alive, &fresh);
    free(census.all);
}
