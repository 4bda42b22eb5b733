#include "supervisor/tell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "supervisor/note.h"
#include "supervisor/settle.h"
#include "supervisor/state.h"
#include "version.h"

#define RETRY_NS (10 * MS_NS)

/* 0 or -errno. */
static int send_message(struct supervisor *supervisor, const void *message, size_t size,
                        const int *fds, unsigned n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(LINK_LISTENERS * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (n_fds > 0) {
        memset(&control, 0, sizeof control);
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
    }
    ssize_t sent = sendmsg(supervisor->keeper.link.fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : 0;
}

/*
 * Whether it is out. If not, somebody will come back: the loop when the link has room, or a
 * deadline where the kernel lacks memory. An agent that is gone needs nothing told: the next one
 * gets the whole table.
 */
static bool say(struct supervisor *supervisor, const void *message, size_t size, int fd) {
    struct keeper *keeper = &supervisor->keeper;
    if (keeper->link.fd < 0 || !keeper->greeted || keeper->dismissed)
        return false;
    int err = send_message(supervisor, message, size, &fd, fd >= 0);
    if (err == 0)
        return true;
    keeper->blocked = true;
    if (err == -EAGAIN)
        loop_add(&supervisor->loop, &keeper->link, EPOLLIN | EPOLLOUT);
    else
        deadline_arm(&supervisor->loop.deadlines, &keeper->retry, clock_now() + RETRY_NS);
    return false;
}

#define HEADER(TYPE, STRUCT) \
    { .type = (TYPE), .size = sizeof(STRUCT) }

/* It is under way to its program: who asks for the same again must find it, not start another.
 * Where no file can be had to show it, the agent learns of it when it has started, and a repeat
 * that comes before starts another. */
static void pass_on(struct task *task) {
    int err = spec_source_file(&task->birth->spec);
    if (err < 0) {
        note("job %llx: the new agent can't be told that it starts: %s",
             (unsigned long long)task->job, strerror(-err));
        return;
    }
    task->generation = task->supervisor->keeper.generation;
    task->inherited = true;
    task_owe(task, OWED_JOB);
}

static void owe_table(struct supervisor *supervisor) {
    supervisor->keeper.table_left = 0;
    for (struct task *task = supervisor->tasks.oldest, *next; task != NULL; task = next) {
        next = task->newer;
        task->owed = 0;
        if (task->state == TASK_FORGOTTEN)
            continue;
        if (task->state == TASK_ANSWERED && task->store.fd < 0) {
            task_forget(task);
            continue;
        }
        if (task->state != TASK_STARTING)
            task_owe(task, OWED_JOB);
        else if (task->birth != NULL && (task->flags & LINK_SPAWN_MAIN) == 0)
            pass_on(task);
        if (task->input.open)
            task_owe(task, OWED_TAKEN);
    }
}

void tell_hello(struct supervisor *supervisor) {
    const struct supervisor_options *options = supervisor->options;
    struct keeper *keeper = &supervisor->keeper;
    static struct link_hello hello; /* large, and there is one loop */
    hello = (struct link_hello){
        .h = HEADER(LINK_HELLO, struct link_hello),
        .version = LINK_VERSION,
        .restarts = (uint32_t)(keeper->generation - 1),
        .job_nonce = supervisor->job_nonce,
        .started_mono_ns = supervisor->started_boot_ns,
        .last_active_at = supervisor->last_active_at,
        .is_init = supervisor->is_init,
        .supervisor_pid = (uint32_t)supervisor->pid,
        .kill_tree = settle_cgroups(supervisor) ? LINK_KILL_CGROUP : LINK_KILL_BEST_EFFORT,
        .controllers = supervisor->groups.controllers,
        .max_jobs = supervisor->max_jobs,
        .reaped_orphans = supervisor->reaped_orphans,
        .processes_started = supervisor->processes_started,
        .nofile = supervisor->nursery.nofile,
        .least = LINK_LEAST,
        .reexecs = supervisor->reexecs,
        .unready = !keeper->ready,
        .listeners = options->listeners,
        .config = options->config,
    };
    hello.upgrade = upgrade_state(supervisor, &hello.upgrade_at);
    snprintf(hello.supervisor, sizeof hello.supervisor, "%s", guestd_version);
    int fd = openat(supervisor->nursery.proc, "sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        ssize_t len = read(fd, hello.boot_id, sizeof hello.boot_id - 1);
        hello.boot_id[len > 0 ? len : 0] = 0;
        hello.boot_id[strcspn(hello.boot_id, "\n")] = 0;
        close(fd);
    }
    int fds[LINK_LISTENERS];
    for (unsigned i = 0; i < options->listeners; i++) {
        hello.listener[i] = options->listener[i].told;
        fds[i] = options->listener[i].fd;
    }
    int err = send_message(supervisor, &hello, sizeof hello, fds, options->listeners);
    if (err < 0)
        return;
    keeper->greeted = true;
    keeper->table_told = false;
    keeper->stopping_owed = supervisor->power.stopping;
    owe_table(supervisor);
    tell_owed(supervisor);
}

static bool tell_job(struct task *task) {
    struct link_job message = {
        .h = HEADER(LINK_JOB, struct link_job),
        .job = task->job,
        .pid = task->pid,
        .exited = task->state == TASK_ANSWERED,
        .flags = task->flags,
        .started_at = task->started_at,
        .result = task->result,
    };
    if (task->state != TASK_STARTING)
        return say(task->supervisor, &message, sizeof message, task->store.fd);
    message.pid = 0;
    return say(task->supervisor, &message, sizeof message, spec_source_file(&task->birth->spec));
}

static bool tell_spawned(struct task *task) {
    struct link_spawned message = {
        .h = HEADER(LINK_SPAWNED, struct link_spawned),
        .job = task->job,
        .pid = task->pid,
        .err = task->spawn_err,
        .stage = task->spawn_stage,
        .started_at = task->started_at,
    };
    return say(task->supervisor, &message, sizeof message, task->store.fd);
}

static bool tell_taken(struct task *task) {
    struct input *input = &task->input;
    struct link_taken message = {
        .h = HEADER(LINK_TAKEN, struct link_taken),
        .job = task->job,
        .taken = input->taken,
        .written = input->written,
        .ends = input->ends,
        .closed = input->closed,
        .err = input->err,
    };
    if (!say(task->supervisor, &message, sizeof message, -1))
        return false;
    input->err = 0;
    return true;
}

static bool tell_exited(struct task *task) {
    struct link_exited message = {
        .h = HEADER(LINK_EXITED, struct link_exited), .job = task->job, .result = task->result};
    return say(task->supervisor, &message, sizeof message, -1);
}

static bool tell_store(struct task *task) {
    struct link_job_ref message = {.h = HEADER(LINK_STORE, struct link_job_ref), .job = task->job};
    return say(task->supervisor, &message, sizeof message, task->store.fd);
}

static bool tell_output(struct task *task) {
    struct link_output message = {.h = HEADER(LINK_OUTPUT, struct link_output), .job = task->job};
    return say(task->supervisor, &message, sizeof message, -1);
}

/* In order: what comes later means nothing to who hasn't heard the earlier. */
static bool tell_task(struct task *task) {
    static const struct {
        enum task_owed what;
        bool (*tell)(struct task *task);
    } order[] = {
        {OWED_JOB, tell_job},     {OWED_SPAWNED, tell_spawned}, {OWED_STORE, tell_store},
        {OWED_TAKEN, tell_taken}, {OWED_OUTPUT, tell_output},   {OWED_EXITED, tell_exited},
    };
    for (unsigned i = 0; i < sizeof order / sizeof *order; i++) {
        if ((task->owed & order[i].what) == 0)
            continue;
        if (!order[i].tell(task))
            return false;
        task->owed &= ~order[i].what;
        if (order[i].what == OWED_JOB)
            task->supervisor->keeper.table_left--;
    }
    return true;
}

static bool tell_tasks(struct supervisor *supervisor) {
    struct tasks *tasks = &supervisor->tasks;
    while (tasks->owing != NULL) {
        struct task *task = tasks->owing;
        if (!tell_task(task))
            return false;
        tasks->owing = task->next_owing;
        if (tasks->owing == NULL)
            tasks->last_owing = &tasks->owing;
        task->owing = false;
        if (task->failed)
            task_failure_told(task);
    }
    return true;
}

static bool tell_dones(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    while (keeper->done != NULL) {
        struct waiter *waiter = keeper->done;
        struct link_done message = {.h = HEADER(LINK_DONE, struct link_done),
                                    .request = waiter->request,
                                    .err = waiter->err};
        if (!say(supervisor, &message, sizeof message, -1))
            return false;
        keeper->done = waiter->next;
        if (keeper->done == NULL)
            keeper->last_done = &keeper->done;
        free(waiter);
    }
    return true;
}

static bool tell_header(struct supervisor *supervisor, enum link_type type) {
    struct link_header message = {.type = type, .size = sizeof message};
    return say(supervisor, &message, sizeof message, -1);
}

static bool tell_numbers(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    struct link_counts counts = {
        .h = HEADER(LINK_COUNTS, struct link_counts),
        .reaped_orphans = supervisor->reaped_orphans,
    };
    if (keeper->counts_owed)
        keeper->counts_owed = !say(supervisor, &counts, sizeof counts, -1);
    return !keeper->counts_owed;
}

void tell_owed(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    if (!keeper->greeted || keeper->blocked || keeper->dismissed)
        return;
    /* First: an agent that reads, however slowly, is to have the chance to answer. */
    if (keeper->ping_owed)
        keeper->ping_owed = !tell_header(supervisor, LINK_PING);
    if (!tell_tasks(supervisor))
        return;
    if (!keeper->table_told && keeper->table_left == 0)
        keeper->table_told = tell_header(supervisor, LINK_JOBS_END);
    if (keeper->stopping_owed && keeper->table_told)
        keeper->stopping_owed = !tell_header(supervisor, LINK_STOPPING);
    if (tell_dones(supervisor)) {
        upgrade_told(supervisor);
        if (keeper->table_told)
            tell_numbers(supervisor);
    }
}

void tell_counts(struct supervisor *supervisor) {
    if (supervisor->keeper.connections == 0)
        return;
    supervisor->keeper.counts_owed = true;
    tell_owed(supervisor);
}

bool tell_idle(const struct supervisor *supervisor) {
    const struct keeper *keeper = &supervisor->keeper;
    return !keeper->greeted ||
           (supervisor->tasks.owing == NULL && keeper->done == NULL && !keeper->stopping_owed);
}

void tell_done(struct supervisor *supervisor, uint64_t request, int err) {
    struct waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL) {
        keeper_kill(supervisor, "no memory for its answers");
        return;
    }
    *waiter = (struct waiter){.request = request, .err = err};
    tell_waiter(supervisor, waiter);
}

void tell_waiter(struct supervisor *supervisor, struct waiter *waiter) {
    struct keeper *keeper = &supervisor->keeper;
    waiter->next = NULL;
    *keeper->last_done = waiter;
    keeper->last_done = &waiter->next;
    tell_owed(supervisor);
}

void tell_ping(struct supervisor *supervisor) {
    supervisor->keeper.ping_owed = supervisor->keeper.pong_owed = true;
    tell_owed(supervisor);
}
