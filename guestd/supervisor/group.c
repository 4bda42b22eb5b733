#include "supervisor/group.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/group_mount.h"
#include "supervisor/group_tree.h"
#include "supervisor/send.h"

#define KEEP_FREE 64
#define FEW 4

/* Reads a small file whole. Returns its length or -errno; the text is terminated. */
static ssize_t read_text(int directory, const char *path, char *text, size_t size) {
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len = read(fd, text, size - 1);
    int err = errno;
    close(fd);
    if (len < 0)
        return -err;
    text[len] = 0;
    return len;
}

static int write_text(int directory, const char *path, const char *text) {
    int fd = openat(directory, path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len = write(fd, text, strlen(text));
    int err = len < 0 ? -errno : 0;
    close(fd);
    return err;
}

static const char *const controllers[] = {"memory", "pids", "cpu"};

/* As link_hello tells it; 0: not one of ours. */
static uint32_t controller(const char *name) {
    for (unsigned i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        if (strcmp(name, controllers[i]) == 0)
            return 1u << i;
    }
    return 0;
}

/* One controller after the other: one that can't be had must not cost the rest. Returns those that
 * `below` got. */
static uint32_t delegate(int from, int to) {
    uint32_t got = 0;
    for (unsigned i = 0; i < sizeof controllers / sizeof *controllers; i++) {
        char order[16];
        snprintf(order, sizeof order, "+%s", controllers[i]);
        if (write_text(from, "cgroup.subtree_control", order) == 0 &&
            write_text(to, "cgroup.subtree_control", order) == 0)
            got |= 1u << i;
    }
    return got;
}

static int open_made(int directory, const char *name) {
    if (mkdirat(directory, name, 0755) < 0 && errno != EEXIST)
        return -errno;
    int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int move_in(int group, pid_t pid) {
    char text[24];
    snprintf(text, sizeof text, "%d", (int)pid);
    return write_text(group, "cgroup.procs", text);
}

static uint32_t offered(int group) {
    char text[256], *rest = text, *word;
    uint32_t all = 0;
    if (read_text(group, "cgroup.controllers", text, sizeof text) < 0)
        return 0;
    while ((word = strsep(&rest, " \n")) != NULL)
        all |= controller(word);
    return all;
}

static void delegate_all(struct groups *groups) {
    delegate(groups->above, groups->home);
    groups->controllers = delegate(groups->home, groups->jobs);
}

/*
 * Of the whole hierarchy: it alone may hold processes and give controllers away. Any other must be
 * left first: with processes in it, to have given pids or cpu away would make it the root of
 * threads, below which no group takes a process. cgroups(7)
 */
static bool is_root(int group) {
    return faccessat(group, "cgroup.events", F_OK, 0) < 0;
}

static int make(struct groups *groups, uint64_t nonce, pid_t agent) {
    snprintf(groups->name, sizeof groups->name, "guestd-%016llx", (unsigned long long)nonce);
    groups->home = open_made(groups->above, groups->name);
    if (groups->home < 0)
        return groups->home;
    groups->jobs = open_made(groups->home, "jobs");
    if (groups->jobs < 0)
        return groups->jobs;
    int err = is_root(groups->above) ? 0 : groups_move_apart(groups, agent);
    if (offered(groups->above) != 0)
        delegate_all(groups);
    groups->has_kill = getenv("GUESTD_NO_CGROUP_KILL") == NULL &&
                       faccessat(groups->jobs, "cgroup.kill", W_OK, 0) == 0;
    return err;
}

int groups_move_apart(struct groups *groups, pid_t agent) {
    if (groups->apart || groups->home < 0 || offered(groups->above) == 0)
        return 0;
    int self = open_made(groups->home, "self");
    if (self < 0)
        return self;
    int err = move_in(self, 0);
    if (err == 0 && agent > 0)
        err = move_in(self, agent);
    write_text(self, "cpu.weight", "10000");
    close(self);
    groups->apart = err == 0;
    return err;
}

void groups_none(struct groups *groups) {
    *groups = (struct groups){.above = -1, .home = -1, .jobs = -1};
    groups->last_lingering = &groups->lingering;
}

int groups_foresee(struct groups *groups, int proc) {
    groups_none(groups);
    int root = group_mount_open_root(proc);
    if (root < 0)
        return root;
    groups->controllers = offered(root);
    close(root);
    return 0;
}

int groups_init(struct groups *groups, int proc, uint64_t nonce, pid_t agent) {
    groups_none(groups);
    groups->proc = proc;
    groups->above = group_mount_open(proc);
    int err = groups->above < 0 ? groups->above : make(groups, nonce, agent);
    if (err < 0)
        groups_deinit(groups);
    return err;
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void free_list(struct groups *groups, struct group *group) {
    while (group != NULL) {
        struct group *next = group->next;
        group_tree_remove(groups->jobs, group->name);
        free(group);
        group = next;
    }
}

void groups_deinit(struct groups *groups) {
    free_list(groups, groups->free);
    free_list(groups, groups->lingering);
    groups->free = groups->lingering = NULL;
    groups->last_lingering = &groups->lingering;
    if (groups->home >= 0 && faccessat(groups->home, "self", F_OK, 0) == 0 &&
        write_text(groups->above, "cgroup.procs", "0") == 0)
        unlinkat(groups->home, "self", AT_REMOVEDIR);
    if (groups->home >= 0) {
        unlinkat(groups->home, "jobs", AT_REMOVEDIR);
        unlinkat(groups->above, groups->name, AT_REMOVEDIR);
    }
    close_fd(&groups->jobs);
    close_fd(&groups->home);
    close_fd(&groups->above);
}

/* ── the pool ── */

static void put(struct groups *groups, struct group *group, bool unusable) {
    if (!unusable && group_populated(groups, group)) {
        group->next = NULL;
        *groups->last_lingering = group;
        groups->last_lingering = &group->next;
        return;
    }
    /*
     * Newer kernels (6.18, say) count how often a group was killed, and kill a child that clone3
     * starts into one whose count isn't that of its parent's group.
     */
    if (unusable || group->spent || groups->n_free >= KEEP_FREE ||
        group_tree_is_split(groups->jobs, group->name)) {
        group_tree_remove(groups->jobs, group->name);
        free(group);
        return;
    }
    group->is_new = false;
    int kills = group_oom_kills(groups, group);
    group->oom_kills += kills > 0 ? (uint64_t)kills : 0;
    group->next = groups->free;
    groups->free = group;
    groups->n_free++;
}

/* Groups whose last daemon has gone meanwhile are good again, or can go; looks at others each time.
 */
static void gather(struct groups *groups, int most) {
    for (int i = 0; i < most && groups->lingering != NULL; i++) {
        struct group *group = groups->lingering;
        groups->lingering = group->next;
        if (groups->lingering == NULL)
            groups->last_lingering = &groups->lingering;
        put(groups, group, false);
    }
}

struct group *groups_take(struct groups *groups, bool alone) {
    if (groups->jobs < 0)
        return NULL;
    if (groups->free == NULL)
        gather(groups, FEW);
    struct group *group = alone ? NULL : groups->free;
    if (group != NULL) {
        groups->free = group->next;
        groups->n_free--;
        return group;
    }
    group = calloc(1, sizeof *group);
    if (group == NULL)
        return NULL;
    snprintf(group->name, sizeof group->name, "%u", ++groups->made);
    group->is_new = true;
    group->spent = alone;
    return group;
}

void groups_give(struct groups *groups, struct group *group, bool unusable) {
    put(groups, group, unusable);
    gather(groups, 1);
}

/* ── one group ── */

static int in_group(char path[64], const struct group *group, const char *file) {
    return snprintf(path, 64, "%s/%s", group->name, file);
}

static bool populated(int directory, const char *path) {
    char text[128];
    return read_text(directory, path, text, sizeof text) > 0 && strstr(text, "populated 1") != NULL;
}

bool group_populated(const struct groups *groups, const struct group *group) {
    char path[64];
    in_group(path, group, "cgroup.events");
    return populated(groups->jobs, path);
}

int group_list(const struct groups *groups, const struct group *group, struct pids *ret) {
    return group_tree_list(groups->jobs, group->name, ret);
}

/* Before 5.14: stop them, so that nobody forks, kill each, and let them go to die. */
static void kill_frozen(const struct groups *groups, const struct group *group) {
    char path[64];
    in_group(path, group, "cgroup.freeze");
    write_text(groups->jobs, path, "1");
    struct pids pids = {0};
    group_list(groups, group, &pids);
    for (unsigned i = 0; i < pids.count; i++)
        kill(pids.pid[i], SIGKILL);
    pids_deinit(&pids);
    write_text(groups->jobs, path, "0");
}

/* The process is in the group or below it. /proc/PID/cgroup, cgroups(7) */
static bool has(const struct groups *groups, const struct group *group, pid_t pid) {
    char path[32], text[8192], own[96];
    snprintf(path, sizeof path, "%d/cgroup", (int)pid);
    if (read_text(groups->proc, path, text, sizeof text) <= 0)
        return false;
    size_t len = (size_t)snprintf(own, sizeof own, "/%s/jobs/%s", groups->name, group->name);
    const char *row = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
    const char *at = row != NULL ? strstr(row, own) : NULL;
    return at != NULL && strchr("/\n", at[len]) != NULL;
}

/* Still in the group once its pidfd holds it: so it isn't another's pid. */
static bool signal_one(const struct groups *groups, const struct group *group, pid_t pid,
                       int signal) {
    int pidfd = send_open(pid);
    bool hit = has(groups, group, pid) && send_signal(pidfd, pid, signal) == 0;
    if (pidfd >= 0)
        close(pidfd);
    return hit;
}

void group_signal(const struct groups *groups, struct group *group, int signal, pid_t except,
                  struct pids *hit) {
    struct pids pids = {0};
    group_list(groups, group, &pids);
    if (signal == SIGKILL) {
        for (unsigned i = 0; i < pids.count; i++) {
            if (pids.pid[i] != except)
                pids_add(hit, pids.pid[i]);
        }
        char path[64];
        in_group(path, group, "cgroup.kill");
        group->spent = true;
        if (!groups->has_kill || write_text(groups->jobs, path, "1") < 0)
            kill_frozen(groups, group);
        pids_deinit(&pids);
        return;
    }
    for (unsigned i = 0; i < pids.count; i++) {
        if (pids.pid[i] != except && signal_one(groups, group, pids.pid[i], signal))
            pids_add(hit, pids.pid[i]);
    }
    pids_deinit(&pids);
}

int group_oom_kills(const struct groups *groups, const struct group *group) {
    if ((groups->controllers & 1) == 0)
        return -1;
    char path[64], text[512];
    in_group(path, group, "memory.events");
    if (read_text(groups->jobs, path, text, sizeof text) < 0)
        return -1;
    const char *row = strstr(text, "\noom_kill ");
    uint64_t kills = row != NULL ? strtoull(row + strlen("\noom_kill "), NULL, 10) : 0;
    return kills > group->oom_kills ? (int)(kills - group->oom_kills) : 0;
}

/* ── all of them ── */

bool groups_empty(const struct groups *groups) {
    return groups->jobs < 0 || !populated(groups->jobs, "cgroup.events");
}

void groups_signal_lingering(const struct groups *groups, int signal) {
    for (struct group *group = groups->lingering; group != NULL; group = group->next) {
        struct pids hit = {0};
        group_signal(groups, group, signal, 0, &hit);
        pids_deinit(&hit);
    }
}
