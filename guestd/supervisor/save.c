#include "supervisor/save.h"

#include <string.h>
#include <sys/prctl.h>

#include "supervisor/saved.h"
#include "supervisor/state.h"

static void save_supervisor(struct saved_writer *writer, const struct supervisor *supervisor) {
    const struct nursery *nursery = &supervisor->nursery;
    struct saved_supervisor saved = {
        .proc = saved_fd(writer, nursery->proc),
        .null = saved_fd(writer, nursery->null),
        .nofile_soft = nursery->nofile.rlim_cur,
        .nofile_hard = nursery->nofile.rlim_max,
        .job_nonce = supervisor->job_nonce,
        .started_boot_ns = supervisor->started_boot_ns,
        .last_active_at = supervisor->last_active_at,
        .reaped_orphans = supervisor->reaped_orphans,
        .processes_started = supervisor->processes_started,
        .generation = supervisor->keeper.generation,
        .program = supervisor->program != NULL ? supervisor->program->job : 0,
        .reexecs = supervisor->reexecs,
    };
    prctl(PR_GET_NAME, saved.name);
    saved_put(writer, SAVED_SUPERVISOR, &saved, sizeof saved);
}

static void save_settings(struct saved_writer *writer, const struct supervisor_options *options) {
    struct saved_settings saved = {
        .max_jobs = options->max_jobs,
        .output_total = options->output_total,
        .stdin_buffer = options->stdin_buffer,
        .stdin_total = options->stdin_total,
        .adoption_ms = options->adoption_ms,
        .grace_ms = options->grace_ms,
        .is_init = options->is_init,
    };
    saved_put(writer, SAVED_SETTINGS, &saved, sizeof saved);
    saved_put(writer, SAVED_CONFIG, &options->config, sizeof options->config);
    for (unsigned i = 0; i < options->listeners; i++) {
        struct saved_listener listener = {
            .fd = saved_fd(writer, options->listener[i].fd),
            .told = options->listener[i].told,
        };
        saved_put(writer, SAVED_LISTENER, &listener, sizeof listener);
    }
}

static void save_upgrade(struct saved_writer *writer, const struct supervisor *supervisor) {
    struct saved_upgrade saved = upgrade_save(supervisor);
    saved_fd(writer, saved.own);
    saved_fd(writer, saved.before);
    saved_fd(writer, saved.executable);
    saved_fd(writer, saved.candidate);
    saved_put(writer, SAVED_UPGRADE, &saved, sizeof saved);
}

/* ── groups ── */

static void save_group(struct saved_writer *writer, enum saved_type type, const struct group *group,
                       uint32_t flags) {
    struct saved_group saved = {
        .flags = flags | (group->spent ? SAVED_GROUP_SPENT : 0),
        .oom_kills = group->oom_kills,
    };
    memcpy(saved.name, group->name, sizeof saved.name);
    saved_put(writer, type, &saved, sizeof saved);
}

static void save_groups(struct saved_writer *writer, const struct groups *groups) {
    if (groups->jobs < 0)
        return;
    struct saved_groups saved = {
        .above = saved_fd(writer, groups->above),
        .home = saved_fd(writer, groups->home),
        .jobs = saved_fd(writer, groups->jobs),
        .controllers = groups->controllers,
        .made = groups->made,
        .has_kill = groups->has_kill,
    };
    memcpy(saved.name, groups->name, sizeof saved.name);
    saved_put(writer, SAVED_GROUPS, &saved, sizeof saved);
    for (const struct group *group = groups->free; group != NULL; group = group->next)
        save_group(writer, SAVED_GROUP, group, 0);
    for (const struct group *group = groups->lingering; group != NULL; group = group->next)
        save_group(writer, SAVED_GROUP, group, SAVED_GROUP_LINGERING);
}

static void save_orphans(struct saved_writer *writer, const struct orphans *orphans) {
    struct saved_orphan saved[64];
    for (unsigned done = 0; done < orphans->count;) {
        unsigned n = 0;
        for (; n < 64 && done < orphans->count; n++, done++)
            saved[n] = (struct saved_orphan){.pid = orphans->list[done].pid,
                                             .seen_ns = orphans->list[done].seen_ns};
        saved_put(writer, SAVED_ORPHANS, saved, n * sizeof *saved);
    }
}

/* ── tasks ── */

static void save_store(struct saved_writer *writer, const struct store *store) {
    if (store->fd < 0)
        return;
    struct saved_store saved = {
        .fd = saved_fd(writer, store->fd),
        .flags = store->head != NULL ? SAVED_STORE_WRITTEN : 0,
        .mapped = store->mapped,
        .facts_at = store->facts_at,
        .facts_len = store->facts_len,
    };
    for (unsigned c = 0; c < 2; c++) {
        const struct store_channel *channel = &store->channel[c];
        saved.channel[c] = (struct saved_channel){
            .end = channel->end,
            .oldest = channel->oldest,
            .acked = channel->acked,
            .at = channel->at,
            .size = channel->size,
            .kill_over = channel->kill_over,
            .mode = channel->mode,
            .eof = channel->eof,
        };
    }
    saved_put(writer, SAVED_STORE, &saved, sizeof saved);
}

static void save_waiting(void *arg, const uint8_t *bytes, size_t len, bool ends) {
    struct saved_writer *writer = arg;
    if (len > 0)
        saved_put(writer, SAVED_INPUT_BYTES, bytes, len);
    if (ends)
        saved_put(writer, SAVED_INPUT_END, NULL, 0);
}

static void save_input(struct saved_writer *writer, const struct input *input) {
    if (!input->open)
        return;
    struct saved_input saved = {
        .fd = saved_fd(writer, input->source.fd),
        .flags = (input->terminal ? SAVED_INPUT_TERMINAL : 0) |
                 (input->counted ? SAVED_INPUT_COUNTED : 0) |
                 (input->line_open ? SAVED_INPUT_LINE_OPEN : 0) |
                 (input->closed ? SAVED_INPUT_CLOSED : 0),
        .ends = input->ends,
        .taken = input->taken,
        .written = input->written,
    };
    saved_put(writer, SAVED_INPUT, &saved, sizeof saved);
    input_each(input, save_waiting, writer);
}

static void save_pids(struct saved_writer *writer, enum saved_type type, const struct pids *pids) {
    _Static_assert(sizeof *pids->pid == sizeof(int32_t), "pids are written as they are");
    if (pids->count > 0)
        saved_put(writer, type, pids->pid, pids->count * sizeof *pids->pid);
}

static int64_t due(const struct supervisor *supervisor, const struct deadline *deadline) {
    return deadline->armed ? deadline_due(&supervisor->loop.deadlines, deadline) : 0;
}

/* An answered one without a store is known to the old agent alone, which is gone. */
static enum saved_task_state state_of(const struct task *task) {
    switch (task->state) {
    case TASK_RUNNING:
        return SAVED_RUNNING;
    case TASK_REAPED:
        return SAVED_REAPED;
    default:
        return task->state == TASK_ANSWERED && task->store.fd >= 0 ? SAVED_ANSWERED
                                                                   : SAVED_FORGOTTEN;
    }
}

static void save_task(struct saved_writer *writer, const struct task *task) {
    struct saved_task saved = {
        .job = task->job,
        .state = state_of(task),
        .spawn = task->flags,
        .grace_ms = task->grace_ms,
        .flags = (task->waited_out ? SAVED_TASK_WAITED_OUT : 0) |
                 (task->killing ? SAVED_TASK_KILLING : 0),
        .timeout_ms = task->timeout_ms,
        .pid = task->pid,
        .pidfd = saved_fd(writer, task->pidfd),
        .started_at = task->started_at,
        .started_ns = task->started_ns,
        .reaped_ns = task->reaped_ns,
        .orphaned_ns = task->orphaned_ns,
        .killing_ns = task->killing_ns,
        .timeout_due = due(task->supervisor, &task->timeout),
        .sweep_due = due(task->supervisor, &task->sweep),
        .settle_due = due(task->supervisor, &task->settle),
        .sweep_ns = task->sweep_ns,
        .signals = task->signals,
        .ending = task->ending,
    };
    for (unsigned c = 0; c < 2; c++) {
        saved.pipe[c] = saved_fd(writer, task->pipe[c].source.fd);
        saved.must_read[c] = task->pipe[c].must_read;
    }
    saved_put(writer, SAVED_TASK, &saved, sizeof saved);
    save_store(writer, &task->store);
    if (task->state != TASK_RUNNING)
        saved_put(writer, SAVED_RESULT, &task->result, sizeof task->result);
    if (task->group != NULL)
        save_group(writer, SAVED_TASK_GROUP, task->group, 0);
    save_pids(writer, SAVED_HIT, &task->hit);
    save_pids(writer, SAVED_ALIVE, &task->alive);
    save_input(writer, &task->input);
}

int save_state(const struct supervisor *supervisor, struct saved_writer *writer) {
    saved_begin(writer, supervisor->upgrade.own);
    save_supervisor(writer, supervisor);
    save_settings(writer, supervisor->options);
    save_upgrade(writer, supervisor);
    save_groups(writer, &supervisor->groups);
    save_orphans(writer, &supervisor->orphans);
    for (const struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        if (task->state != TASK_STARTING)
            save_task(writer, task);
    }
    return saved_finish(writer);
}
