#include "supervisor/birth.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "supervisor/child.h"
#include "supervisor/clone.h"
#include "supervisor/deadline.h"
#include "supervisor/terminal.h"

#define PIPE_BYTES (256 << 10)
#define CHILD_STACK (24u << 10)

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int open_pipes(struct birth *birth, int ret_stdio[3]) {
    for (int c = 0; c < 2; c++) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
            return -errno;
        birth->out[c] = ends[0];
        ret_stdio[c + 1] = ends[1];
        /* Only our end: the program's is its own business. */
        if (fcntl(ends[0], F_SETFL, O_RDONLY | O_NONBLOCK) < 0)
            return -errno;
        /* A bigger pipe lets a fast writer run on while we sleep. Refused past the user's share: no
         * matter. */
        if (c == 0)
            fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    }
    return 0;
}

/* Our end doesn't wait for the program; its own may. 0 or -errno. */
static int open_input(struct birth *birth) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    birth->input = ends[0];
    birth->in = ends[1];
    return fcntl(ends[1], F_SETFL, O_WRONLY | O_NONBLOCK) < 0 ? -errno : 0;
}

static pid_t start_shared(struct birth *birth, struct child *child, int born_in, int join) {
    char stack[CHILD_STACK] __attribute__((aligned(16)));
    struct clone clone = {
        .child = child_run,
        .arg = child,
        .stack = stack,
        .stack_len = sizeof stack,
        .cgroup = born_in,
        .ret_pid = (pid_t *)&birth->pid,
        .ret_pidfd = (int *)&birth->pidfd,
    };
    child->join = join;
    return clone_shared(&clone);
}

/* The forked child has memory of its own: its failure comes through a pipe that the exec closes. */
static pid_t start_forked(struct birth *birth, struct child *child, int group) {
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return -errno;
    child->join = group;
    child->report = report[1];
    struct clone clone = {
        .child = child_run,
        .arg = child,
        .cgroup = -1,
        .ret_pid = (pid_t *)&birth->pid,
        .ret_pidfd = (int *)&birth->pidfd,
    };
    pid_t pid = clone_forked(&clone);
    close(report[1]);
    while (pid > 0 && read(report[0], &child->failure, sizeof child->failure) < 0 && errno == EINTR)
        ;
    close(report[0]);
    return pid;
}

static pid_t start(struct birth *birth, struct child *child, int group) {
    pid_t pid = -ENOSYS;
    if (!birth->nursery->no_clone3) {
        if (group >= 0 && birth->nursery->no_clone_into)
            pid = -EINVAL;
        else
            pid = start_shared(birth, child, group, -1);
        /* Linux 5.3 to 5.6 has clone3, but can't start into a group: the child moves itself. */
        if (group >= 0 && (pid == -EINVAL || pid == -E2BIG))
            pid = start_shared(birth, child, -1, group);
        /* A group that takes nobody (its owner split it up, or removed it): the job goes without
         * rather than fail, if it can. */
        if (group >= 0 && pid < 0 && pid != -ENOSYS && !birth_lacks_resources(-pid)) {
            int err = birth_without_group(birth, pid);
            return err < 0 ? err : start_shared(birth, child, -1, -1);
        }
    }
    /* EPERM: a container's filter that is older than clone3. */
    return pid == -ENOSYS || pid == -EPERM ? start_forked(birth, child, group) : pid;
}

static void mark_start(struct birth *birth) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    birth->started_at = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
    birth->started_ns = clock_now();
}

/* Returns 0 or -errno; a failure of the child's is in child->failure. */
static int bear(struct birth *birth, const struct spec *spec, int stdio[3]) {
    struct child child = {.birth = birth, .spec = spec, .join = -1, .report = -1};
    if ((birth->flags & LINK_SPAWN_MAIN) != 0) {
        for (int i = 0; i < 3; i++)
            stdio[i] = -1, child.stdio[i] = i;
    } else if ((birth->flags & LINK_SPAWN_PTY) != 0) {
        int err = terminal_open(birth, &stdio[0]);
        if (err < 0)
            return err;
        for (int i = 0; i < 3; i++)
            child.stdio[i] = stdio[0];
    } else {
        stdio[0] = -1;
        int err = open_pipes(birth, stdio);
        if (err == 0 && (birth->flags & LINK_SPAWN_STDIN_OPEN) != 0)
            err = open_input(birth);
        if (err < 0)
            return err;
        child.stdio[0] = birth->input >= 0 ? birth->input : birth->nursery->null;
        child.stdio[1] = stdio[1];
        child.stdio[2] = stdio[2];
    }
    int err = store_make(&birth->store, birth->size, birth->mode, spec->facts, spec->facts_len);
    if (err < 0)
        return err;
    int group;
    err = birth_open_group(birth, &group);
    if (err < 0)
        return err;
    mark_start(birth);
    pid_t pid = start(birth, &child, group);
    close_fd(&group);
    if (child.failure.err != 0)
        birth->stage = child.failure.stage;
    return pid < 0 ? (int)pid : -child.failure.err;
}

void birth_run(struct birth *birth) {
    struct spec spec = {0};
    int stdio[3] = {-1, -1, -1};
    birth->in = birth->out[0] = birth->out[1] = -1;
    birth->store = (struct store){.fd = -1};
    birth->stage = LINK_STAGE_NONE;

    int err = spec_read(&birth->spec, &spec);
    if (err == -E2BIG)
        birth->stage = LINK_STAGE_ARGS;
    if (err == 0)
        err = bear(birth, &spec, stdio);
    for (int i = 0; i < 3; i++)
        close_fd(&stdio[i]);
    close_fd(&birth->input);
    if (err < 0) {
        close_fd(&birth->in);
        close_fd(&birth->out[0]);
        close_fd(&birth->out[1]);
        store_deinit(&birth->store);
    }
    birth->err = -err;
    spec_deinit(&spec);
}
