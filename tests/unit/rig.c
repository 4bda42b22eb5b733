#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "supervisor/reexec.h"
#include "supervisor/supervisor.h"

#define PATIENCE_MS 15000

/* ── fds over sockets ── */

static ssize_t send_fds(int socket, const void *bytes, size_t size, const int *fds,
                        unsigned n_fds) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (n_fds > 0) {
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, n_fds * sizeof(int));
    }
    return sendmsg(socket, &header, MSG_NOSIGNAL);
}

static ssize_t receive_fd(int socket, void *bytes, size_t size, int *ret_fd) {
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof control.bytes};
    ssize_t len = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    *ret_fd = -1;
    struct cmsghdr *rights = len > 0 ? CMSG_FIRSTHDR(&header) : NULL;
    if (rights != NULL && rights->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(rights), sizeof(int));
    return len;
}

static struct sockaddr_un door_address(const char *name, socklen_t *ret_len) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path + 1, name); /* abstract */
    *ret_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name));
    return address;
}

/* ── the process in the agent's place ── */

static void be_the_agent(void) {
    if (getenv("RIG_CRASH") != NULL && access(getenv("RIG_CRASH"), F_OK) == 0)
        _exit(3);
    socklen_t len;
    struct sockaddr_un address = door_address(getenv("RIG_DOOR"), &len);
    int door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), link = LINK_FD;
    pid_t self = getpid();
    if (connect(door, (struct sockaddr *)&address, len) < 0 ||
        send_fds(door, &self, sizeof self, &link, 1) < 0)
        _exit(2);
    close(door);
    /* The supervisor's end is shut down: it wants us to go. */
    struct pollfd end = {.fd = LINK_FD, .events = POLLRDHUP};
    while (poll(&end, 1, -1) != 1)
        ;
    _exit(0);
}

/* ── the supervisor ── */

/* The number below which so many fds are free. */
static rlim_t with_free(unsigned wanted) {
    int fd = 0;
    for (; wanted > 0; fd++)
        wanted -= fcntl(fd, F_GETFD) < 0;
    return (rlim_t)fd;
}

/* RIG_REFUSE: what is executed can't have the fds that it needs; who wrote the state can. */
static void be_the_next(enum reexec_role role, char **argv, int state) {
    static struct supervisor_options options;
    options.arguments = argv;
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur =
        getenv("RIG_REFUSE") != NULL && role == REEXEC_TAKE ? with_free(2) : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    _exit(supervisor_resume(&options, state, role == REEXEC_BACK));
}

/* The test's own binary is every executable that a supervisor starts. (glibc hands the arguments
 * over.) */
__attribute__((constructor)) static void take_a_role(int argc, char **argv) {
    int state;
    if (strcmp(program_invocation_name, "guestd-agent") == 0)
        be_the_agent();
    enum reexec_role role = reexec_role(&argc, argv, &state);
    if (role == REEXEC_ASK)
        _exit(reexec_answer(state));
    if (role != REEXEC_NONE)
        be_the_next(role, argv, state);
}

static void be_the_supervisor(const struct rig *rig, const struct rig_options *options) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setenv("RIG_DOOR", rig->name, 1);
    for (unsigned i = 0; i < 8 && options->env[i] != NULL; i++)
        putenv((char *)(uintptr_t)options->env[i]);
    static struct supervisor_options real;
    real = (struct supervisor_options){
        .max_jobs = options->max_jobs > 0 ? options->max_jobs : 4096,
        .grace_ms = options->grace_ms > 0 ? options->grace_ms : 2000,
        .executable = open("/proc/self/exe", O_PATH | O_CLOEXEC),
        .program = options->program,
        .adoption_ms = options->adoption_ms,
        .output_total = options->output_total,
        .stdin_buffer = options->stdin_buffer,
        .stdin_total = options->stdin_total,
    };
    static char name[] = "rig", *arguments[] = {name, NULL};
    real.arguments = options->arguments != NULL ? options->arguments : arguments;
    supervisor_early();
    if (options->resume != NULL)
        _exit(supervisor_resume(&real, options->resume(rig), false));
    _exit(supervisor_run(&real));
}

static void empty_inbox(struct rig *rig) {
    while (rig->inbox != NULL) {
        struct rig_letter *letter = rig->inbox;
        rig->inbox = letter->next;
        if (letter->fd >= 0)
            close(letter->fd);
        free(letter);
    }
}

void rig_next_agent(struct rig *rig, bool wait_table) {
    if (rig->link >= 0)
        close(rig->link);
    empty_inbox(rig);
    struct pollfd ready = {.fd = rig->door, .events = POLLIN};
    assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
    int agent = accept4(rig->door, NULL, NULL, SOCK_CLOEXEC);
    assert_true(agent >= 0);
    assert_int_equal(receive_fd(agent, &rig->agent, sizeof rig->agent, &rig->link),
                     sizeof rig->agent);
    close(agent);
    int fd;
    rig->hello = rig_expect(rig, LINK_HELLO, 0, &fd).hello;
    assert_int_equal(rig->hello.version, LINK_VERSION);
    if (wait_table)
        return;
    rig_expect(rig, LINK_JOBS_END, 0, NULL);
    struct link_serving serving = {.h = {LINK_SERVING, sizeof serving}};
    rig_send(rig, &serving, sizeof serving, NULL, 0);
}

void rig_start(struct rig *rig, const struct rig_options *options) {
    static unsigned rigs;
    memset(rig, 0, sizeof *rig);
    rig->link = -1;
    snprintf(rig->name, sizeof rig->name, "guestd-rig-%d-%u", (int)getpid(), ++rigs);
    rig->door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    socklen_t len;
    struct sockaddr_un address = door_address(rig->name, &len);
    assert_int_equal(bind(rig->door, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(rig->door, 4), 0);
    rig->supervisor = fork();
    assert_true(rig->supervisor >= 0);
    if (rig->supervisor == 0)
        be_the_supervisor(rig, options);
    if (!options->no_agent)
        rig_next_agent(rig, options->wait_table);
}

int rig_wait(struct rig *rig) {
    int status = 0;
    for (int tries = 0; tries < PATIENCE_MS; tries++) {
        if (waitpid(rig->supervisor, &status, WNOHANG) == rig->supervisor) {
            empty_inbox(rig);
            close(rig->door);
            if (rig->link >= 0)
                close(rig->link);
            assert_true(WIFEXITED(status));
            return WEXITSTATUS(status);
        }
        usleep(1000);
    }
    fail_msg("the supervisor did not end");
    return -1;
}

int rig_stop(struct rig *rig) {
    kill(rig->supervisor, SIGTERM);
    return rig_wait(rig);
}

/* ── messages ── */

void rig_send(struct rig *rig, const void *message, size_t size, const int *fds, unsigned n_fds) {
    assert_int_equal(send_fds(rig->link, message, size, fds, n_fds), size);
}

static uint64_t job_of(const union rig_message *message) {
    switch (message->h.type) {
    case LINK_JOB:
        return message->job.job;
    case LINK_SPAWNED:
        return message->spawned.job;
    case LINK_OUTPUT:
        return message->output.job;
    case LINK_EXITED:
        return message->exited.job;
    case LINK_TAKEN:
        return message->taken.job;
    default:
        return 0;
    }
}

static struct rig_letter **find(struct rig *rig, uint32_t type, uint64_t job) {
    struct rig_letter **at = &rig->inbox;
    while (*at != NULL &&
           !((*at)->message.h.type == type && (job == 0 || job_of(&(*at)->message) == job)))
        at = &(*at)->next;
    return *at != NULL ? at : NULL;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* One message into the inbox; false: none came in time, or the link is closed. */
static bool take_in(struct rig *rig, int ms) {
    struct pollfd ready = {.fd = rig->link, .events = POLLIN};
    if (ms < 0 || poll(&ready, 1, ms) != 1)
        return false;
    struct rig_letter *letter = calloc(1, sizeof *letter);
    if (receive_fd(rig->link, &letter->message, sizeof letter->message, &letter->fd) <= 0) {
        free(letter);
        return false;
    }
    if (letter->message.h.type == LINK_PING) {
        struct link_header pong = {LINK_PONG, sizeof pong};
        rig_send(rig, &pong, sizeof pong, NULL, 0);
    }
    struct rig_letter **at = &rig->inbox;
    while (*at != NULL)
        at = &(*at)->next;
    *at = letter;
    return true;
}

bool rig_comes(struct rig *rig, uint32_t type, uint64_t job, int ms) {
    int64_t end = now_ms() + ms;
    while (find(rig, type, job) == NULL) {
        if (!take_in(rig, (int)(end - now_ms())))
            return false;
    }
    return true;
}

union rig_message rig_expect(struct rig *rig, uint32_t type, uint64_t job, int *ret_fd) {
    if (!rig_comes(rig, type, job, PATIENCE_MS))
        fail_msg("no message of type %u for job %llx", type, (unsigned long long)job);
    struct rig_letter **at = find(rig, type, job), *letter = *at;
    union rig_message message = letter->message;
    *at = letter->next;
    if (ret_fd != NULL)
        *ret_fd = letter->fd;
    else if (letter->fd >= 0)
        close(letter->fd);
    free(letter);
    return message;
}

/* ── jobs ── */

static char *add(char *at, const void *bytes, size_t len) {
    memcpy(at, bytes, len);
    return at + len;
}

static char *add_strings(char *at, const char *const *list, uint32_t *ret_count) {
    for (*ret_count = 0; list != NULL && list[*ret_count] != NULL; ++*ret_count)
        at = add(at, list[*ret_count], strlen(list[*ret_count]) + 1);
    return at;
}

static int seal(const void *bytes, size_t len) {
    int fd = memfd_create("rig", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

/* Freed by the caller. */
static char *make_spec(const struct rig_job *job, size_t *ret_len) {
    static const char *const usual[] = {"PATH=/usr/local/bin:/usr/bin:/bin", NULL};
    const char *const path[] = {job->argv[0], NULL};
    char *bytes = malloc(1 << 20), *at = bytes + sizeof(struct link_spec);
    struct link_spec head = {.magic = LINK_SPEC_MAGIC, .groups = job->n_groups};
    if (job->n_groups > 0)
        at = add(at, job->groups, job->n_groups * sizeof(uint32_t));
    char *strings = at;
    at = add_strings(at, job->argv, &head.argc);
    at = add_strings(at, job->envp != NULL ? job->envp : usual, &head.envc);
    at = add_strings(at, job->candidates != NULL ? job->candidates : path, &head.candidates);
    at = add(at, job->cwd != NULL ? job->cwd : "/", strlen(job->cwd != NULL ? job->cwd : "/") + 1);
    head.strings = (uint32_t)(at - strings);
    if (job->facts != NULL) {
        head.facts = (uint32_t)strlen(job->facts);
        at = add(at, job->facts, head.facts);
    }
    memcpy(bytes, &head, sizeof head);
    *ret_len = (size_t)(at - bytes);
    return bytes;
}

static void send_spawn(struct rig *rig, const struct rig_job *job, struct link_spawn order) {
    struct {
        struct link_spawn head;
        char spec[LINK_SPEC_HERE_MAX];
    } message;
    size_t len;
    char *spec = make_spec(job, &len);
    int fds[2];
    unsigned n_fds = 0;
    if (len <= sizeof message.spec && !job->in_file) {
        memcpy(message.spec, spec, len);
        order.flags |= LINK_SPAWN_SPEC_HERE;
        order.h.size += (uint32_t)len;
    } else {
        fds[n_fds++] = seal(spec, len);
    }
    if (job->input != NULL) {
        fds[n_fds++] = seal(job->input, strlen(job->input));
        order.flags |= LINK_SPAWN_STDIN;
    }
    message.head = order;
    rig_send(rig, &message, order.h.size, fds, n_fds);
    while (n_fds > 0)
        close(fds[--n_fds]);
    free(spec);
}

uint64_t rig_spawn(struct rig *rig, const struct rig_job *job) {
    struct link_spawn order = job->order;
    order.h = (struct link_header){LINK_SPAWN, sizeof order};
    if (order.job == 0)
        order.job = (uint64_t)rig->hello.restarts << 32 | ++rig->jobs;
    for (unsigned c = 0; c < 2; c++) {
        bool terminal = c == 1 && (order.flags & LINK_SPAWN_PTY) != 0;
        if (order.store[c].size == 0 && !terminal)
            order.store[c].size = 64 << 10;
    }
    send_spawn(rig, job, order);
    return order.job;
}

uint64_t rig_shell(struct rig *rig, const char *script, struct link_spawn order) {
    const char *argv[] = {"/bin/sh", "-c", script, NULL};
    uint64_t id =
        order.job != 0 ? order.job : ((uint64_t)rig->hello.restarts << 32 | (rig->jobs + 1));
    char mark[64];
    snprintf(mark, sizeof mark, "GUESTD_JOB=%016llx-%016llx",
             (unsigned long long)rig->hello.job_nonce, (unsigned long long)id);
    const char *envp[] = {"PATH=/usr/local/bin:/usr/bin:/bin", mark, NULL};
    return rig_spawn(rig, &(struct rig_job){.argv = argv, .envp = envp, .order = order});
}

struct link_spawned rig_started(struct rig *rig, uint64_t job, int *ret_store) {
    struct link_spawned spawned = rig_expect(rig, LINK_SPAWNED, job, ret_store).spawned;
    assert_int_equal(spawned.err, 0);
    assert_true(spawned.pid > 0);
    return spawned;
}

void rig_inherited(struct rig *rig, uint64_t job, int *ret_store) {
    int fd;
    if (rig_expect(rig, LINK_JOB, job, &fd).job.pid == 0) {
        close(fd); /* its spec: it only starts */
        rig_started(rig, job, ret_store);
    } else if (ret_store != NULL) {
        *ret_store = fd;
    } else {
        close(fd);
    }
}

struct link_result rig_exited(struct rig *rig, uint64_t job) {
    return rig_expect(rig, LINK_EXITED, job, NULL).exited.result;
}

char *rig_output(int store, unsigned c, uint64_t *ret_from, uint64_t *ret_end) {
    struct stat stat;
    assert_int_equal(fstat(store, &stat), 0);
    const char *base = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, store, 0);
    assert_true(base != MAP_FAILED);
    const struct store_head *head = (const struct store_head *)(const void *)base;
    assert_int_equal(head->magic, STORE_MAGIC);
    const struct store_ring *ring = &head->ring[c];
    uint64_t from = ring->oldest, end = ring->end, size = ring->size;
    bool first = ring->mode == STORE_HEAD || ring->mode == STORE_KILL;
    uint64_t until = first && end > size ? size : end;
    if (size == 0)
        until = from; /* shed */
    char *text = calloc(1, (size_t)(until - from) + 1);
    for (uint64_t at = from; at < until; at++)
        text[at - from] = base[ring->at + (first ? at : at % size)];
    munmap((void *)(uintptr_t)base, (size_t)stat.st_size);
    if (ret_from != NULL)
        *ret_from = from;
    if (ret_end != NULL)
        *ret_end = end;
    return text;
}

/* ── orders ── */

void rig_look(struct rig *rig, uint64_t job, const uint64_t acked[2], const uint64_t seen[2],
              uint32_t flags) {
    struct link_look order = {.h = {LINK_LOOK, sizeof order}, .job = job, .flags = flags};
    memcpy(order.acked, acked, sizeof order.acked);
    memcpy(order.seen, seen, sizeof order.seen);
    rig_send(rig, &order, sizeof order, NULL, 0);
}

void rig_ref(struct rig *rig, uint32_t type, uint64_t job) {
    struct link_job_ref order = {.h = {type, sizeof order}, .job = job};
    rig_send(rig, &order, sizeof order, NULL, 0);
}

uint64_t rig_signal(struct rig *rig, uint64_t job, int signal, uint32_t scope) {
    static uint64_t requests;
    struct link_signal order = {.h = {LINK_SIGNAL, sizeof order},
                                .job = job,
                                .request = ++requests,
                                .signal = signal,
                                .scope = scope};
    rig_send(rig, &order, sizeof order, NULL, 0);
    return order.request;
}

int rig_done(struct rig *rig, uint64_t request) {
    struct link_done done = rig_expect(rig, LINK_DONE, 0, NULL).done;
    assert_int_equal(done.request, request);
    return done.err;
}

bool rig_alive(pid_t pid) {
    char path[64], text[512] = "";
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t len = read(fd, text, sizeof text - 1);
    close(fd);
    const char *state = len > 0 ? strrchr(text, ')') : NULL;
    return state != NULL && state[2] != 'Z' && state[2] != 'X';
}
