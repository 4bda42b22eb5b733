#include "supervisor/reexec.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "supervisor/apart.h"
#include "supervisor/note.h"
#include "supervisor/save.h"
#include "supervisor/saved.h"
#include "supervisor/state.h"
#include "version.h"

#define HUNG_NS SECOND_NS

extern char **environ;

/* No option has such a name: an executable that doesn't know it refuses to start. */
static const char *const MARKS[] = {
    [REEXEC_ASK] = "--reads-state-on-fd=",
    [REEXEC_TAKE] = "--state-on-fd=",
    [REEXEC_BACK] = "--state-back-on-fd=",
};

/* ── who was executed ── */

/* Its place and the end of all arguments, which the kernel shows in /proc/PID/cmdline. */
static void take_away(int *argc, char **argv) {
    char *mark = argv[--*argc];
    argv[*argc] = NULL;
    memset(mark, 0, strlen(mark));
    /* Where that is allowed: zeros at the end are empty arguments. prctl(2) */
    prctl(PR_SET_MM, PR_SET_MM_ARG_END, mark, 0, 0);
}

static bool is_ours(int fd) {
    struct saved saved;
    int err = saved_open(&saved, fd);
    saved_close(&saved);
    return err != -EINVAL && saved.head.pid == getpid();
}

enum reexec_role reexec_role(int *argc, char **argv, int *ret_fd) {
    enum reexec_role role = *argc > 1 ? REEXEC_BACK : REEXEC_NONE;
    while (role != REEXEC_NONE && strncmp(argv[*argc - 1], MARKS[role], strlen(MARKS[role])) != 0)
        role--;
    if (role == REEXEC_NONE)
        return REEXEC_NONE;
    char *end;
    const char *number = argv[*argc - 1] + strlen(MARKS[role]);
    long fd = strtol(number, &end, 10);
    if (end == number || *end != 0 || fd < 3 || fd > INT32_MAX)
        return REEXEC_NONE;
    if (role == REEXEC_ASK ? *argc != 2 : !is_ours((int)fd))
        return REEXEC_NONE;
    *ret_fd = (int)fd;
    take_away(argc, argv);
    return role;
}

int reexec_answer(int fd) {
    struct saved saved;
    int err = saved_open(&saved, fd);
    saved_close(&saved);
    if (err < 0)
        note(
            "the state of guestd %.32s can't be read: it is version %u (least %u), this build's %u",
            saved.head.build, saved.head.version, saved.head.least, guestd_saved_version);
    return err == 0 ? REEXEC_EXIT_YES : REEXEC_EXIT_NO;
}

/* ── executing ── */

#define MARK_MOST 64

static void print_mark(char mark[MARK_MOST], enum reexec_role role, int fd) {
    snprintf(mark, MARK_MOST, "%s%d", MARKS[role], fd);
}

static int execute(int executable, char *const *argv) {
    syscall(SYS_execveat, executable, "", argv, environ, AT_EMPTY_PATH);
    return -errno;
}

static int execute_as(int executable, char *const *arguments, enum reexec_role role, int fd) {
    unsigned count = 0;
    while (arguments[count] != NULL)
        count++;
    char mark[MARK_MOST], **argv = calloc(count + 2, sizeof *argv);
    if (argv == NULL)
        return -ENOMEM;
    memcpy(argv, arguments, count * sizeof *argv);
    print_mark(mark, role, fd);
    argv[count] = mark;
    int err = execute(executable, argv);
    free(argv);
    return err;
}

int reexec_back(const struct saved_head *head, char *const *arguments, int fd) {
    return execute_as(head->executable, arguments, REEXEC_BACK, fd);
}

/* In the new process, which has memory of its own. */
static void become_asked(const struct supervisor *supervisor, int executable, int state,
                         char *const *argv) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor->pid)
        _exit(1); /* the supervisor died before the line above */
    fcntl(state, F_SETFD, 0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execute(executable, argv);
    _exit(1);
}

int reexec_ask(struct supervisor *supervisor, int executable, pid_t *ret_pid) {
    struct saved_writer writer;
    int state = save_state(supervisor, &writer);
    saved_writer_deinit(&writer);
    if (state < 0)
        return state;
    char name[] = "guestd", mark[MARK_MOST], *argv[] = {name, mark, NULL};
    print_mark(mark, REEXEC_ASK, state);
    pid_t pid = fork();
    if (pid == 0)
        become_asked(supervisor, executable, state, argv);
    int err = pid < 0 ? -errno : 0;
    close(state);
    if (err == 0)
        *ret_pid = pid;
    return err;
}

/* ── the exec ── */

/* An exec ends all other threads first, and waits for each: one that hangs in the kernel would hold
 * up the whole process. */
bool reexec_is_quiet(const struct supervisor *supervisor) {
    return crew_is_quiet(&supervisor->spawners) && crew_is_quiet(&supervisor->walkers) &&
           apart_closing() == 0 && supervisor->admission.first == NULL;
}

bool reexec_is_hung(const struct supervisor *supervisor) {
    return crew_oldest(&supervisor->spawners) < clock_now() - HUNG_NS;
}

/* Stores that are still written. */
static void tighten_stores(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        if (task->store.head != NULL)
            store_tighten(&task->store); /* those that weren't loosened refuse: they are sealed */
    }
}

static int loosen_stores(struct supervisor *supervisor) {
    for (struct task *task = supervisor->tasks.oldest; task != NULL; task = task->newer) {
        int err = task->store.head != NULL ? store_loosen(&task->store) : 0;
        if (err < 0)
            return err;
    }
    return 0;
}

static void bequeath(const struct saved_writer *writer, int state, int flags) {
    for (unsigned i = 0; i < writer->n_fds; i++)
        fcntl(writer->fds[i], F_SETFD, flags);
    fcntl(state, F_SETFD, flags);
}

/* Between the two lines with bequeath no program can start: all threads rest, and this one is here.
 */
int reexec_run(struct supervisor *supervisor, int executable) {
    struct saved_writer writer = {.file = -1};
    int err = loosen_stores(supervisor);
    int state = err < 0 ? err : save_state(supervisor, &writer);
    err = state < 0 ? state : 0;
    if (err == 0) {
        bequeath(&writer, state, 0);
        err = execute_as(executable, supervisor->options->arguments, REEXEC_TAKE, state);
        bequeath(&writer, state, FD_CLOEXEC);
        close(state);
    }
    saved_writer_deinit(&writer);
    tighten_stores(supervisor);
    return err;
}
