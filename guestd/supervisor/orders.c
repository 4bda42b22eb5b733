#include "supervisor/orders.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "supervisor/apart.h"
#include "supervisor/drain.h"
#include "supervisor/ending.h"
#include "supervisor/send.h"
#include "supervisor/settle.h"
#include "supervisor/spawn.h"
#include "supervisor/spec.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"
#include "supervisor/terminal.h"
#include "supervisor/tree.h"
#include "supervisor/upgrade.h"

#define MESSAGES_A_TURN 32
#define LAST_MOST 4096 /* more than a link holds: who else has its end may write on for ever */
#define FDS_MAX 253    /* SCM_MAX_FD: what has no room here, the kernel would close, in our place */
/* Orders of an agent that has a full link and reads nothing: more than clients can have asked for.
 */
#define UNHEARD_MOST 32768
#define GRACE_MAX_MS (3600u * 1000)

union order {
    struct link_header h;
    struct link_serving serving;
    struct link_spawn spawn;
    struct link_look look;
    struct link_job_ref ref;
    struct link_resize resize;
    struct link_signal signal;
    struct link_power power;
    struct link_upgrade upgrade;
    struct link_speaks speaks;
    struct {
        struct link_spawn head;
        uint8_t bytes[LINK_SPEC_HERE_MAX];
    } spec_here;
    struct {
        struct link_input head;
        uint8_t bytes[LINK_INPUT_MAX];
    } input;
};

/* Bytes of a spec that follow their struct. */
static size_t spec_here(const struct link_spawn *order) {
    bool here = order->h.size >= sizeof *order && (order->flags & LINK_SPAWN_SPEC_HERE) != 0;
    return here ? order->h.size - sizeof *order : 0;
}

/* 0: no order. */
static size_t size_of(const union order *order) {
    switch (order->h.type) {
    case LINK_SERVING:
        return sizeof(struct link_serving);
    case LINK_PONG:
        return sizeof(struct link_header);
    case LINK_SPAWN:
        return sizeof(struct link_spawn) +
               (spec_here(&order->spawn) <= LINK_SPEC_HERE_MAX ? spec_here(&order->spawn) : 0);
    case LINK_LOOK:
        return sizeof(struct link_look);
    case LINK_DETACH:
    case LINK_CANCEL:
    case LINK_FORGET:
    case LINK_ADOPT:
    case LINK_STORED:
        return sizeof(struct link_job_ref);
    case LINK_RESIZE:
        return sizeof(struct link_resize);
    case LINK_SIGNAL:
        return sizeof(struct link_signal);
    case LINK_POWER:
        return sizeof(struct link_power);
    case LINK_UPGRADE:
        return sizeof(struct link_upgrade);
    case LINK_SPEAKS:
        return sizeof(struct link_speaks);
    case LINK_INPUT:
        return order->h.size >= sizeof(struct link_input) && order->input.head.len <= LINK_INPUT_MAX
                   ? sizeof(struct link_input) + order->input.head.len
                   : 0;
    default:
        return 0;
    }
}

/* An agent of another version is to be understood as far as both know (guestd/link.h, "Versions"):
 * makes the order as long as its type. */
static bool fit(const struct keeper *keeper, union order *order, size_t len) {
    size_t size = len >= sizeof order->h && order->h.size == len ? size_of(order) : 0;
    if (size == 0 || (size != len && (!keeper->foreign || order->h.type == LINK_INPUT)))
        return false;
    if (len < size)
        memset((char *)order + len, 0, size - len);
    order->h.size = (uint32_t)size;
    return true;
}

static void take_serving(struct supervisor *supervisor, const struct link_serving *order) {
    if (!supervisor->keeper.served)
        upgrade_served(supervisor);
    supervisor->keeper.served = true;
    supervisor->keeper.ready |= order->ready != 0;
    notify_served(supervisor);
    supervisor->keeper.connections = order->connections;
    supervisor->last_active_at = order->last_active_at;
    tell_counts(supervisor);
    keeper_watch(supervisor);
}

static void take_look(struct supervisor *supervisor, const struct link_look *order) {
    struct task *task = task_find(&supervisor->tasks, order->job);
    if (task == NULL || task->store.fd < 0)
        return;
    for (unsigned c = 0; c < 2; c++) {
        if (store_ack(&task->store, c, order->acked[c]))
            drain_resume(&task->pipe[c]);
        task->seen[c] = order->seen[c];
    }
    task->eof_seen[0] = (order->flags & LINK_LOOK_EOF_SEEN_0) != 0;
    task->eof_seen[1] = (order->flags & LINK_LOOK_EOF_SEEN_1) != 0;
    task->armed = (order->flags & LINK_LOOK_ARM) != 0;
    drain_ring(task);
}

static void take_detach(struct supervisor *supervisor, uint64_t job) {
    struct task *task = task_find(&supervisor->tasks, job);
    if (task != NULL)
        task_let_go(task);
}

static void take_adopt(struct supervisor *supervisor, uint64_t job) {
    struct task *task = task_find(&supervisor->tasks, job);
    if (task != NULL)
        task_adopt(task);
}

static void take_stored(struct supervisor *supervisor, uint64_t job) {
    struct task *task = task_find(&supervisor->tasks, job);
    if (task != NULL)
        budget_let_go(task);
}

static void take_resize(struct supervisor *supervisor, const struct link_resize *order) {
    struct task *task = task_find(&supervisor->tasks, order->job);
    if (task != NULL && (task->flags & LINK_SPAWN_PTY) != 0 && task->pipe[0].source.fd >= 0 &&
        order->rows > 0 && order->cols > 0)
        terminal_resize(task->pipe[0].source.fd, order->rows, order->cols);
}

static void take_forget(struct supervisor *supervisor, uint64_t job) {
    struct task *task = task_find(&supervisor->tasks, job);
    if (task != NULL && task->state == TASK_ANSWERED)
        task_forget(task);
}

static int send_to(struct task *task, int signal, uint32_t scope) {
    if (signal != 0)
        task->signals |= UINT64_C(1) << (signal - 1);
    switch (scope) {
    case LINK_SCOPE_LEADER:
        return send_signal(task->pidfd, task->pid, signal);
    case LINK_SCOPE_GROUP:
        /* The leader isn't reaped, so the group's number is still its own. */
        return kill(-task->pid, signal) < 0 ? -errno : 0;
    case LINK_SCOPE_TREE:
        if (signal == SIGKILL)
            ending_kill(task, LINK_REASON_KILLED);
        else if (signal != 0)
            tree_signal(task, signal);
        return 0;
    default:
        return -EINVAL;
    }
}

static void take_signal(struct supervisor *supervisor, const struct link_signal *order) {
    struct task *task = task_find(&supervisor->tasks, order->job);
    if (order->signal < 0 || order->signal > 64) {
        tell_done(supervisor, order->request, EINVAL);
        return;
    }
    if (task == NULL || task->state != TASK_RUNNING) {
        tell_done(supervisor, order->request, ESRCH);
        return;
    }
    /* Before the signal: it may end the task at once. */
    struct waiter *waiter = order->signal == SIGKILL ? malloc(sizeof *waiter) : NULL;
    int err = send_to(task, order->signal, order->scope);
    if (waiter == NULL || err < 0) {
        free(waiter);
        tell_done(supervisor, order->request, -err);
        return;
    }
    *waiter = (struct waiter){.request = order->request, .next = task->waiters};
    task->waiters = waiter;
}

static void take_power(struct supervisor *supervisor, const struct link_power *order) {
    if (order->mode > LINK_POWER_EXIT || (order->mode != LINK_POWER_EXIT && !supervisor->is_init)) {
        tell_done(supervisor, order->request, order->mode > LINK_POWER_EXIT ? EINVAL : EPERM);
        return;
    }
    tell_done(supervisor, order->request, 0);
    power_begin(supervisor, order->mode,
                order->grace_ms < GRACE_MAX_MS ? order->grace_ms : GRACE_MAX_MS);
}

static const char *take_input(struct supervisor *supervisor, const struct link_input *order,
                              const uint8_t *bytes) {
    struct task *task = task_find(&supervisor->tasks, order->job);
    return task != NULL ? input_take(task, order, bytes) : NULL;
}

static const char *take_spawn(struct supervisor *supervisor, const struct link_spawn *order,
                              const int *fds, unsigned *n_fds) {
    bool here = (order->flags & LINK_SPAWN_SPEC_HERE) != 0;
    bool input = (order->flags & LINK_SPAWN_STDIN) != 0;
    if (*n_fds != (unsigned)!here + input || (here && spec_here(order) == 0) ||
        (order->flags & LINK_SPAWN_MAIN) != 0 ||
        (input && (order->flags & LINK_SPAWN_STDIN_OPEN) != 0))
        return "a start without its spec";
    struct spec_source spec = SPEC_SOURCE_FD(here ? -1 : fds[0]);
    if (here && spec_source_copy(order + 1, spec_here(order), &spec) < 0) {
        spawn_refuse(supervisor, order->job, ENOMEM, LINK_STAGE_NONE);
        return NULL;
    }
    int stdin_fd = input ? fds[*n_fds - 1] : -1;
    *n_fds = 0;
    return spawn_take(supervisor, order, &spec, stdin_fd);
}

/* Returns NULL or what is wrong with it. Takes over the fds only of a LINK_SPAWN or LINK_UPGRADE,
 * and sets *n_fds to 0 then. */
static const char *obey(struct supervisor *supervisor, union order *order, ssize_t len,
                        const int *fds, unsigned *n_fds) {
    if (!fit(&supervisor->keeper, order, (size_t)len))
        return "a message of no known shape";
    const char *untrue = settle(supervisor);
    if (untrue != NULL)
        return untrue;
    if (order->h.type == LINK_UPGRADE) {
        if (*n_fds != 1)
            return "an upgrade without its file";
        *n_fds = 0;
        upgrade_take(supervisor, &order->upgrade, fds[0]);
        return NULL;
    }
    if (order->h.type == LINK_SPAWN)
        return take_spawn(supervisor, &order->spawn, fds, n_fds);
    if (*n_fds != 0)
        return "files nobody asked for";
    switch (order->h.type) {
    case LINK_SERVING:
        take_serving(supervisor, &order->serving);
        break;
    case LINK_PONG:
        supervisor->keeper.pong_owed = false;
        break;
    case LINK_LOOK:
        take_look(supervisor, &order->look);
        break;
    case LINK_DETACH:
        take_detach(supervisor, order->ref.job);
        break;
    case LINK_RESIZE:
        take_resize(supervisor, &order->resize);
        break;
    case LINK_ADOPT:
        take_adopt(supervisor, order->ref.job);
        break;
    case LINK_STORED:
        take_stored(supervisor, order->ref.job);
        break;
    case LINK_SIGNAL:
        take_signal(supervisor, &order->signal);
        break;
    case LINK_CANCEL:
        ending_cancel(supervisor, order->ref.job);
        break;
    case LINK_FORGET:
        take_forget(supervisor, order->ref.job);
        break;
    case LINK_POWER:
        take_power(supervisor, &order->power);
        break;
    case LINK_SPEAKS:
        supervisor->keeper.foreign = order->speaks.version != LINK_VERSION;
        break;
    case LINK_INPUT:
        return take_input(supervisor, &order->input.head, order->input.bytes);
    }
    return NULL;
}

/* Each may be one more answer that waits in our memory. */
static bool listens(struct keeper *keeper) {
    keeper->unheard = keeper->blocked ? keeper->unheard + 1 : 0;
    return keeper->unheard <= UNHEARD_MOST;
}

static bool is_memfd(int fd) {
    return fcntl(fd, F_GET_SEALS) >= 0;
}

static void close_all(int *fds, unsigned count) {
    unsigned slow = 0;
    for (unsigned i = 0; i < count; i++) {
        if (is_memfd(fds[i]))
            close(fds[i]);
        else
            fds[slow++] = fds[i];
    }
    if (slow > 0)
        close_apart(fds, slow);
}

static unsigned take_fds(struct msghdr *header, int fds[FDS_MAX]) {
    unsigned count = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL;
         part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t bytes = part->cmsg_len - CMSG_LEN(0);
        for (size_t at = 0; at + sizeof(int) <= bytes; at += sizeof(int)) {
            memcpy(&fds[count++], CMSG_DATA(part) + at, sizeof(int));
        }
    }
    return count;
}

/* False: nothing more to take now. */
static bool take_one(struct supervisor *supervisor) {
    static union order order; /* large, and there is one loop */
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = &order, .iov_len = sizeof order};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(supervisor->keeper.link.fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (len < 0 && errno == ECONNRESET)
        return true; /* it died with something unread, which is told once and before what it said */
    if (len < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOMEM))
        return false;
    int fds[FDS_MAX];
    unsigned n_fds = len >= 0 ? take_fds(&header, fds) : 0;
    bool slow = false;
    for (unsigned i = 0; i < n_fds; i++)
        slow |= !is_memfd(fds[i]);
    const char *wrong = NULL;
    if (len <= 0) /* also a message of no bytes, which may come with fds */
        wrong = "it closed the link";
    else if ((header.msg_flags & MSG_TRUNC) != 0)
        wrong = "a message that is too long";
    else if (slow)
        wrong = "a file that is no memfd";
    else if ((header.msg_flags & MSG_CTRUNC) != 0 && order.h.type == LINK_SPAWN &&
             len >= (ssize_t)sizeof order.spawn)
        spawn_refuse(supervisor, order.spawn.job, EMFILE,
                     LINK_STAGE_NONE); /* we are out of fds: not its fault */
    else
        wrong = listens(&supervisor->keeper) ? obey(supervisor, &order, len, fds, &n_fds)
                                             : "it orders without end, and reads nothing";
    close_all(fds, n_fds);
    if (len <= 0)
        keeper_lost(supervisor);
    else if (wrong != NULL)
        keeper_kill(supervisor, wrong);
    return wrong == NULL;
}

void orders_take(struct supervisor *supervisor) {
    for (int i = 0; i < MESSAGES_A_TURN && supervisor->keeper.link.fd >= 0; i++) {
        if (!take_one(supervisor))
            break;
    }
}

void orders_take_last(struct supervisor *supervisor) {
    for (int i = 0; i < LAST_MOST && supervisor->keeper.link.fd >= 0; i++) {
        if (!take_one(supervisor))
            break;
    }
}
