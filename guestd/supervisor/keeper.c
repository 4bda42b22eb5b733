#include "supervisor/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor/apart.h"
#include "supervisor/note.h"
#include "supervisor/orders.h"
#include "supervisor/settle.h"
#include "supervisor/state.h"
#include "supervisor/tell.h"

#define BACKOFF_FIRST_NS (10 * MS_NS)
#define BACKOFF_LAST_NS SECOND_NS
#define PING_NS (10 * SECOND_NS)

extern char **environ;

/* In the new process, which has memory of its own. argv[0] is the mark that main() knows an agent
 * by. */
static void become_agent(const struct supervisor *supervisor, int link) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor->pid)
        _exit(1); /* the supervisor died before the line above */
    /* It may be LINK_FD itself. */
    int executable = fcntl(upgrade_executable(supervisor), F_DUPFD_CLOEXEC, LINK_FD + 1);
    if (link == LINK_FD)
        fcntl(link, F_SETFD, 0);
    else if (dup2(link, LINK_FD) < 0)
        _exit(1);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    static char name[] = "guestd-agent", role[] = LINK_ROLE;
    char *argv[] = {name, role, NULL};
    syscall(SYS_execveat, executable, "", argv, environ, AT_EMPTY_PATH);
    _exit(1);
}

static void again(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    deadline_arm(&supervisor->loop.deadlines, &keeper->restart, clock_now() + keeper->backoff_ns);
    keeper->backoff_ns = keeper->backoff_ns > 0 ? keeper->backoff_ns * 2 : BACKOFF_FIRST_NS;
    if (keeper->backoff_ns > BACKOFF_LAST_NS)
        keeper->backoff_ns = BACKOFF_LAST_NS;
}

static int start(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    fcntl(ends[0], F_SETFL, O_RDWR | O_NONBLOCK);
    pid_t pid = fork();
    if (pid == 0)
        become_agent(supervisor, ends[1]);
    int err = pid < 0 ? -errno : 0;
    close(ends[1]);
    if (err < 0) {
        close(ends[0]);
        return err;
    }
    keeper->pid = pid;
    keeper->link.fd = ends[0];
    keeper->generation++;
    keeper->served = keeper->blocked = keeper->greeted = false;
    keeper->ping_owed = keeper->pong_owed = keeper->dismissed = keeper->foreign = false;
    keeper->connections = 0;
    keeper->counts_owed = false;
    err = loop_add(&supervisor->loop, &keeper->link, EPOLLIN);
    if (err < 0)
        keeper_kill(supervisor, strerror(-err));
    return 0;
}

void keeper_begin(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    if (supervisor->program != NULL)
        deadline_arm(&supervisor->loop.deadlines, &keeper->restart, clock_now() + SECOND_NS);
    else if (!supervisor->power.stopping)
        keeper_start(supervisor);
}

void keeper_start(struct supervisor *supervisor) {
    deadline_cancel(&supervisor->loop.deadlines, &supervisor->keeper.restart);
    int err = start(supervisor);
    if (err < 0) {
        note("the agent could not be started: %s", strerror(-err));
        again(supervisor);
        return;
    }
    settle_unforeseen(supervisor);
    tell_hello(supervisor);
    if (!supervisor->keeper.greeted)
        keeper_kill(supervisor, "it could not be greeted");
    keeper_watch(supervisor);
}

static void close_link(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    if (keeper->link.fd < 0)
        return;
    loop_remove(&supervisor->loop, &keeper->link);
    close_apart(&keeper->link.fd, 1); /* with whatever files are still in it */
    keeper->link.fd = -1;
    keeper->greeted = keeper->blocked = false;
    deadline_cancel(&supervisor->loop.deadlines, &keeper->retry);
    /* Answers are for who asked. */
    while (keeper->done != NULL) {
        struct waiter *next = keeper->done->next;
        free(keeper->done);
        keeper->done = next;
    }
    keeper->last_done = &keeper->done;
}

void keeper_kill(struct supervisor *supervisor, const char *why) {
    struct keeper *keeper = &supervisor->keeper;
    if (keeper->link.fd < 0 && !keeper->dismissed)
        return;
    keeper->dismissed = false;
    close_link(supervisor);
    if (supervisor->power.leaving)
        return; /* it was asked to go */
    note("the agent is ended: %s", why);
    if (keeper->pid > 0)
        kill(keeper->pid, SIGKILL); /* our child, not reaped yet: the number is its own */
}

void keeper_lost(struct supervisor *supervisor) {
    if (supervisor->keeper.dismissed)
        close_link(supervisor);
    else
        keeper_kill(supervisor, "it closed the link");
}

void keeper_dismiss(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    if (keeper->link.fd < 0)
        return;
    keeper->dismissed = true;
    shutdown(keeper->link.fd, SHUT_WR);
}

bool keeper_reaped(struct supervisor *supervisor, pid_t pid, int wait_status) {
    struct keeper *keeper = &supervisor->keeper;
    if (keeper->pid != pid)
        return false;
    keeper->pid = 0;
    orders_take_last(supervisor);
    close_link(supervisor);
    deadline_cancel(&supervisor->loop.deadlines, &keeper->ping);
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer)
        task_orphan(task);
    budget_agent_gone(supervisor);
    if (supervisor->power.leaving) {
        power_check(supervisor);
        return true;
    }
    if (WIFSIGNALED(wait_status))
        note("the agent died of signal %d", WTERMSIG(wait_status));
    else if (!keeper->dismissed)
        note("the agent ended with %d", WEXITSTATUS(wait_status));
    if (upgrade_agent_gone(supervisor))
        return true;
    if (keeper->served)
        keeper->backoff_ns = 0;
    else if (keeper->backoff_ns == 0)
        keeper->backoff_ns = BACKOFF_FIRST_NS;
    again(supervisor);
    return true;
}

/* An agent that hasn't served yet counts as busy: it must come up. */
void keeper_watch(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    supervisor->loop.ticking = supervisor->tasks.running > 0;
    bool busy = !keeper->served || keeper->connections > 0 || supervisor->tasks.running > 0;
    if (!busy)
        deadline_cancel(&supervisor->loop.deadlines, &keeper->ping);
    else if (!keeper->ping.armed && keeper->pid > 0)
        deadline_arm(&supervisor->loop.deadlines, &keeper->ping, clock_now() + PING_NS);
}

static void on_ping(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, keeper.ping);
    if (supervisor->keeper.pong_owed || !supervisor->keeper.served) {
        keeper_kill(supervisor, "it did not answer for 10 s");
        return;
    }
    tell_ping(supervisor);
    keeper_watch(supervisor);
}

static void on_restart(struct deadline *deadline) {
    keeper_start(container_of(deadline, struct supervisor, keeper.restart));
}

static void on_retry(struct deadline *deadline) {
    struct supervisor *supervisor = container_of(deadline, struct supervisor, keeper.retry);
    supervisor->keeper.blocked = false;
    tell_owed(supervisor);
}

static void on_link(struct source *source, uint32_t events) {
    struct supervisor *supervisor = container_of(source, struct supervisor, keeper.link);
    if ((events & EPOLLOUT) != 0) {
        loop_add(&supervisor->loop, source, EPOLLIN);
        supervisor->keeper.blocked = false;
        tell_owed(supervisor);
        power_check(supervisor);
    }
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        orders_take(supervisor);
}

void keeper_init(struct supervisor *supervisor) {
    struct keeper *keeper = &supervisor->keeper;
    keeper->link = (struct source){.fd = -1, .ready = on_link};
    keeper->last_done = &keeper->done;
    keeper->restart.fire = on_restart;
    keeper->ping.fire = on_ping;
    keeper->retry.fire = on_retry;
}
