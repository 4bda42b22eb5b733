#include "supervisor/resume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/resume_task.h"
#include "supervisor/state.h"

/* ── fds ── */

static int fail(struct resume *resume, int err) {
    if (resume->err == 0)
        resume->err = err;
    return -1;
}

/* Where it is in the list; n_fds: nowhere. */
static unsigned place(const struct resume *resume, int32_t fd) {
    unsigned from = 0, to = resume->n_fds;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        if (resume->fds[middle] < fd)
            from = middle + 1;
        else
            to = middle;
    }
    return from < resume->n_fds && resume->fds[from] == fd ? from : resume->n_fds;
}

static int claim_shared(struct resume *resume, int32_t fd) {
    if (fd < 3)
        return -1;
    unsigned at = place(resume, fd);
    if (at == resume->n_fds || fcntl(fd, F_GETFD) < 0)
        return fail(resume, -EBADF);
    resume->claimed[at] = true;
    return fd;
}

int resume_claim(struct resume *resume, int32_t fd) {
    if (fd >= 3) {
        unsigned at = place(resume, fd);
        if (at < resume->n_fds && resume->claimed[at])
            return fail(resume, -EBADF);
    }
    return claim_shared(resume, fd);
}

static int find_fds(struct resume *resume) {
    struct saved_item item = {0};
    while (saved_next(&resume->saved, &item)) {
        if (item.type != SAVED_FDS)
            continue;
        resume->fds = item.bytes;
        resume->n_fds = item.len / sizeof(int32_t);
    }
    resume->claimed = calloc(resume->n_fds + 1, sizeof *resume->claimed);
    return resume->claimed != NULL ? 0 : -ENOMEM;
}

int resume_open(struct resume *resume, int fd) {
    memset(resume, 0, sizeof *resume);
    int err = saved_open(&resume->saved, fd);
    return err < 0 ? err : find_fds(resume);
}

/* ── settings ── */

static void take_settings(const struct saved_item *item, struct supervisor_options *options) {
    struct saved_settings saved;
    saved_get(item, &saved, sizeof saved);
    options->max_jobs = saved.max_jobs;
    options->output_total = saved.output_total;
    options->stdin_buffer = saved.stdin_buffer;
    options->stdin_total = saved.stdin_total;
    options->adoption_ms = saved.adoption_ms;
    options->grace_ms = saved.grace_ms;
    options->is_init = saved.is_init != 0;
}

/* A limit that the writer didn't know is 0 there, and is this build's default. */
static void take_config(const struct saved_item *item, struct supervisor_options *options) {
    struct link_config config;
    saved_get(item, &config, sizeof config);
    for (unsigned i = 0; i < LINK_LIMITS; i++) {
        if (config.limit[i] == 0)
            config.limit[i] = options->config.limit[i];
    }
    options->config = config;
}

static void take_listener(struct resume *resume, const struct saved_item *item,
                          struct supervisor_options *options) {
    struct saved_listener saved;
    saved_get(item, &saved, sizeof saved);
    int fd = resume_claim(resume, saved.fd);
    if (fd < 0 || options->listeners == LINK_LISTENERS) {
        fail(resume, -EBADMSG);
        return;
    }
    saved.told.name[sizeof saved.told.name - 1] = 0;
    options->listener[options->listeners].fd = fd;
    options->listener[options->listeners++].told = saved.told;
}

int resume_settings(struct resume *resume, struct supervisor_options *options) {
    struct saved_item item = {0};
    options->listeners = 0;
    options->program = NULL;
    while (saved_next(&resume->saved, &item)) {
        if (item.type == SAVED_SETTINGS)
            take_settings(&item, options);
        else if (item.type == SAVED_CONFIG)
            take_config(&item, options);
        else if (item.type == SAVED_LISTENER)
            take_listener(resume, &item, options);
    }
    return resume->err;
}

/* ── state ── */

static void take_supervisor(struct resume *resume, struct supervisor *supervisor,
                            const struct saved_item *item) {
    struct saved_supervisor saved;
    saved_get(item, &saved, sizeof saved);
    struct nursery *nursery = &supervisor->nursery;
    nursery->proc = resume_claim(resume, saved.proc);
    nursery->null = resume_claim(resume, saved.null);
    nursery->nofile = (struct rlimit){.rlim_cur = saved.nofile_soft, .rlim_max = saved.nofile_hard};
    supervisor->job_nonce = saved.job_nonce;
    supervisor->started_boot_ns = saved.started_boot_ns;
    supervisor->last_active_at = saved.last_active_at;
    supervisor->reaped_orphans = saved.reaped_orphans;
    supervisor->processes_started = saved.processes_started;
    supervisor->keeper.generation = saved.generation;
    supervisor->keeper.ready = true; /* somebody found guestd: it was told to execute this */
    supervisor->reexecs = saved.reexecs + 1;
    saved.name[sizeof saved.name - 1] = 0;
    if (saved.name[0] != 0)
        prctl(PR_SET_NAME, saved.name);
}

static void take_upgrade(struct resume *resume, struct supervisor *supervisor,
                         const struct saved_item *item, bool back) {
    struct saved_upgrade saved;
    saved_get(item, &saved, sizeof saved);
    upgrade_load(supervisor, &saved, back ? resume->saved.head.executable : -1);
    const struct upgrade *upgrade = &supervisor->upgrade;
    claim_shared(resume, upgrade->own);
    claim_shared(resume, upgrade->before);
    claim_shared(resume, upgrade->executable);
    claim_shared(resume, upgrade->candidate);
}

static void take_groups(struct resume *resume, struct supervisor *supervisor,
                        const struct saved_item *item) {
    struct saved_groups saved;
    saved_get(item, &saved, sizeof saved);
    struct groups *groups = &supervisor->groups;
    groups->above = resume_claim(resume, saved.above);
    groups->home = resume_claim(resume, saved.home);
    groups->jobs = resume_claim(resume, saved.jobs);
    groups->proc = supervisor->nursery.proc;
    groups->controllers = saved.controllers;
    groups->made = saved.made;
    groups->has_kill = saved.has_kill != 0;
    memcpy(groups->name, saved.name, sizeof groups->name);
    groups->name[sizeof groups->name - 1] = 0;
    supervisor->cgroups = groups->jobs >= 0;
    supervisor->nursery.groups = groups->jobs;
    supervisor->nursery.controllers = groups->controllers;
}

struct group *resume_group(struct resume *resume, const struct saved_item *item,
                           uint32_t *ret_flags) {
    struct saved_group saved;
    saved_get(item, &saved, sizeof saved);
    struct group *group = calloc(1, sizeof *group);
    if (group == NULL) {
        fail(resume, -ENOMEM);
        return NULL;
    }
    memcpy(group->name, saved.name, sizeof group->name);
    group->name[sizeof group->name - 1] = 0;
    group->spent = (saved.flags & SAVED_GROUP_SPENT) != 0;
    group->oom_kills = saved.oom_kills;
    *ret_flags = saved.flags;
    return group;
}

/* Both lists keep their order. */
static void take_group(struct resume *resume, struct groups *groups,
                       const struct saved_item *item) {
    uint32_t flags;
    struct group *group = resume_group(resume, item, &flags);
    if (group == NULL)
        return;
    if ((flags & SAVED_GROUP_LINGERING) != 0) {
        *groups->last_lingering = group;
        groups->last_lingering = &group->next;
        return;
    }
    struct group **at = &groups->free;
    while (*at != NULL)
        at = &(*at)->next;
    *at = group;
    groups->n_free++;
}

static void take_orphans(struct resume *resume, struct orphans *orphans,
                         const struct saved_item *item) {
    unsigned more = item->len / sizeof(struct saved_orphan);
    struct orphan *grown =
        realloc(orphans->list, (orphans->count + more + 1) * sizeof *orphans->list);
    if (grown == NULL) {
        fail(resume, -ENOMEM);
        return;
    }
    orphans->list = grown;
    orphans->room = orphans->count + more + 1;
    for (unsigned i = 0; i < more; i++) {
        struct saved_orphan saved;
        memcpy(&saved, (const uint8_t *)item->bytes + i * sizeof saved, sizeof saved);
        orphans->list[orphans->count++] =
            (struct orphan){.pid = saved.pid, .seen_ns = saved.seen_ns};
    }
}

int resume_state(struct resume *resume, struct supervisor *supervisor, bool back) {
    struct saved_item item = {0};
    struct saved_supervisor first = {0};
    while (saved_next(&resume->saved, &item) && resume->err == 0) {
        switch (item.type) {
        case SAVED_SUPERVISOR:
            saved_get(&item, &first, sizeof first);
            take_supervisor(resume, supervisor, &item);
            break;
        case SAVED_UPGRADE:
            take_upgrade(resume, supervisor, &item, back);
            break;
        case SAVED_GROUPS:
            take_groups(resume, supervisor, &item);
            break;
        case SAVED_GROUP:
            take_group(resume, &supervisor->groups, &item);
            break;
        case SAVED_ORPHANS:
            take_orphans(resume, &supervisor->orphans, &item);
            break;
        default:
            resume_task_item(resume, supervisor, &item);
        }
    }
    resume_tasks_end(resume, supervisor);
    if (first.program != 0)
        supervisor->program = task_find(&supervisor->tasks, first.program);
    return resume->err;
}

void resume_commit(struct resume *resume, struct supervisor *supervisor) {
    for (unsigned i = 0; i < resume->n_fds; i++) {
        if (resume->claimed[i])
            fcntl(resume->fds[i], F_SETFD, FD_CLOEXEC);
        else
            close(resume->fds[i]);
    }
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        int err = task->store.head != NULL ? store_tighten(&task->store) : 0;
        if (err < 0)
            note("job %llx: its output can't be sealed: %s", (unsigned long long)task->job,
                 strerror(-err));
    }
    free(resume->claimed);
    saved_close(&resume->saved);
}
