/* The job table and the link, against a supervisor that this test plays at the other end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "agent/agent.h"
#include "agent/job_table.h"
#include "agent/link.h"
#include "store_file.h"

#define DEADLINE_MS 10000

static struct agent agent;
static int supervisor = -1;

union heard {
    struct link_header h;
    struct link_spawn spawn;
    struct link_job_ref ref;
    struct link_signal signal;
};

/* ── the supervisor's side ── */

static void say(const void *message, int fd) {
    const struct link_header *header = message;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec iov = {(void *)message, header->size};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (fd >= 0) {
        msg.msg_control = &control;
        msg.msg_controllen = sizeof(control);
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&control.align), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(supervisor, &msg, MSG_NOSIGNAL), header->size);
    uv_run(&agent.loop, UV_RUN_NOWAIT);
}

/* The next message, and its first fd (-1: none). */
static union heard hear(enum link_type type, int *ret_fd) {
    union heard heard = {0};
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(2 * sizeof(int))];
    } control;
    struct iovec iov = {&heard, sizeof(heard)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};
    struct pollfd ready = {.fd = supervisor, .events = POLLIN};

    assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
    assert_true(recvmsg(supervisor, &msg, MSG_CMSG_CLOEXEC) > 0);
    assert_int_equal(heard.h.type, type);
    if (ret_fd)
        *ret_fd = -1;
    if (msg.msg_controllen > 0 && ret_fd)
        memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    return heard;
}

static bool silent(void) {
    struct pollfd ready = {.fd = supervisor, .events = POLLIN};

    return poll(&ready, 1, 0) == 0;
}

/* ── watching ── */

struct seen {
    struct job_watch watch;
    int started, output, exited;
    struct failure failure;
};

static void on_started(struct job_watch *watch, const struct failure *failure) {
    struct seen *seen = (struct seen *)((char *)watch - offsetof(struct seen, watch));

    seen->started++;
    if (failure) {
        seen->failure = *failure;
        job_unwatch(watch);
    }
}

static void on_output(struct job_watch *watch) {
    ((struct seen *)((char *)watch - offsetof(struct seen, watch)))->output++;
}

static void on_exited(struct job_watch *watch) {
    ((struct seen *)((char *)watch - offsetof(struct seen, watch)))->exited++;
    job_unwatch(watch);
}

static struct seen watching(void) {
    return (struct seen){.watch = {on_started, on_output, on_exited, NULL, NULL, NULL}};
}

/* ── a job, step by step ── */

static int order(const char *tag, struct seen *seen, struct failure *failure) {
    char *args[] = {"-l", NULL};
    struct strv strv = {1, args};
    struct job_order order = {.cmd = "ls",
                              .args = &strv,
                              .cwd = "/tmp",
                              .tag = tag,
                              .user = "root",
                              .home = "/root",
                              .shell = "/bin/sh",
                              .mode = STORE_HEAD,
                              .max_output = 4096};

    *failure = (struct failure){0};
    return jobs_start(agent.jobs, &order, &seen->watch, failure);
}

/* Starts one and lets it run as `pid`; returns its id. */
static uint64_t running(const char *tag, int32_t pid, struct seen *seen) {
    struct store_file file = store_file_make(STORE_HEAD, 4096, "", 0);
    struct failure failure;
    int spec;
    uint64_t id;

    assert_int_equal(order(tag, seen, &failure), 0);
    id = hear(LINK_SPAWN, &spec).spawn.job;
    close(spec);
    say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                               .job = id,
                               .pid = pid,
                               .started_at = agent_now()},
        file.fd);
    store_file_close(&file);
    assert_int_equal(seen->started, 1);
    return id;
}

static void exits(uint64_t id) {
    say(&(struct link_exited){.h = {LINK_EXITED, sizeof(struct link_exited)},
                              .job = id,
                              .result = {.exited_at = agent_now()}},
        -1);
}

static int set_up(void **state) {
    int pair[2];

    memset(&agent, 0, sizeof(agent));
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    /* Above LINK_FD whatever this process has open. */
    supervisor = fcntl(pair[0], F_DUPFD_CLOEXEC, 10);
    assert_int_equal(dup2(pair[1], LINK_FD), LINK_FD);
    for (int i = 0; i < 2; i++)
        if (pair[i] != LINK_FD)
            close(pair[i]);
    uv_loop_init(&agent.loop);
    agent.limit[LIMIT_processes] = 4;
    agent.limit[LIMIT_retained] = 3;
    agent.limit[LIMIT_retained_s] = 600;
    agent.limit[LIMIT_output_total] = 1 << 20;
    agent.hello.restarts = 7;
    agent.jobs = jobs_new(&agent);
    assert_non_null(agent.jobs);
    return 0;
}

static int set_up_and_serve(void **state) {
    set_up(state);
    assert_true(send(supervisor, &(struct link_header){LINK_JOBS_END, sizeof(struct link_header)},
                     sizeof(struct link_header), 0) > 0);
    assert_int_equal(link_start(&agent), 0);
    return 0;
}

static int tear_down(void **state) {
    link_close(&agent);
    agent.jobs = jobs_free(agent.jobs);
    uv_run(&agent.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&agent.loop), 0);
    close(LINK_FD);
    close(supervisor);
    return 0;
}

/* ── tests ── */

static void the_spec_is_sealed_and_whole(void **state) {
    static const char want[] = "ls\0-l";
    struct seen seen = watching();
    struct failure failure;
    struct facts *facts = NULL;
    struct link_spec spec;
    char bytes[8192];
    ssize_t len;
    union heard heard;
    int fd;

    assert_int_equal(order("web", &seen, &failure), 0);
    heard = hear(LINK_SPAWN, &fd);
    assert_int_equal(heard.spawn.job, UINT64_C(7) << 32 | 1);
    assert_int_equal(heard.spawn.flags, LINK_SPAWN_FOREGROUND);
    assert_int_equal(heard.spawn.store[1].size, 4096);
    assert_int_equal(fcntl(fd, F_GET_SEALS),
                     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
    len = pread(fd, bytes, sizeof(bytes), 0);
    close(fd);
    memcpy(&spec, bytes, sizeof(spec));
    assert_int_equal(spec.magic, LINK_SPEC_MAGIC);
    assert_int_equal(spec.argc, 2);
    assert_true(spec.candidates > 1);
    assert_int_equal(len, sizeof(spec) + spec.strings + spec.facts);
    assert_memory_equal(bytes + sizeof(spec), want, sizeof(want));
    assert_string_equal(bytes + sizeof(spec) + spec.strings - 5, "/tmp");
    assert_int_equal(facts_unpack(bytes + sizeof(spec) + spec.strings, spec.facts, &facts), 0);
    assert_string_equal(facts->tag, "web");
    free(facts);
    job_unwatch(&seen.watch);
}

static void a_job_is_found_from_start_to_exit(void **state) {
    struct seen seen = watching();
    uint64_t id = running("web", 100, &seen);
    struct job *job = jobs_by_tag_find(agent.jobs, "web");

    assert_non_null(job);
    assert_ptr_equal(jobs_by_pid_find(agent.jobs, 100), job);
    assert_true(job_running(job));
    assert_null(jobs_by_tag_find(agent.jobs, "we"));
    assert_null(jobs_by_tag_find(agent.jobs, "webb"));
    assert_null(jobs_by_pid_find(agent.jobs, 99));
    say(&(struct link_output){{LINK_OUTPUT, sizeof(struct link_output)}, id}, -1);
    exits(id);
    exits(id);
    assert_int_equal(seen.output, 1);
    assert_int_equal(seen.exited, 1);
    assert_true(job_exited(job));
    assert_ptr_equal(jobs_by_tag_find(agent.jobs, "web"), job);
    assert_int_equal(jobs_running(agent.jobs), 0);
    assert_int_equal(jobs_retained(agent.jobs), 1);
}

static void a_tag_is_unique_among_the_running(void **state) {
    struct seen seen[3] = {watching(), watching(), watching()};
    struct failure failure;
    struct job *old;
    uint64_t id;

    id = running("web", 100, &seen[0]);
    assert_int_equal(order("web", &seen[1], &failure), STATUS_ALREADY_EXISTS);
    assert_string_equal(failure.field, "tag");
    exits(id);
    old = jobs_by_tag_find(agent.jobs, "web");
    running("web", 101, &seen[2]);
    assert_ptr_not_equal(jobs_by_tag_find(agent.jobs, "web"), old);
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "web")), 101);
    assert_ptr_equal(jobs_by_pid_find(agent.jobs, 100), old);
    job_unwatch(&seen[2].watch);
}

static void one_that_only_starts_is_not_there_but_has_its_tag(void **state) {
    struct seen seen[3] = {watching(), watching(), watching()};
    struct failure failure;
    uint64_t id;

    exits(running("web", 100, &seen[0]));
    assert_int_equal(order("web", &seen[1], &failure), 0);
    id = hear(LINK_SPAWN, NULL).spawn.job;
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "web")), 100);
    assert_int_equal(order("web", &seen[2], &failure), STATUS_ALREADY_EXISTS);
    say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                               .job = id,
                               .err = ENOENT,
                               .stage = LINK_STAGE_CMD},
        -1);
    assert_int_equal(order("web", &seen[2], &failure), 0);
    job_unwatch(&seen[2].watch);
}

static void failed_starts_are_typed(void **state) {
    static const struct {
        uint32_t stage;
        int err;
        enum status code;
        const char *field;
    } cases[] = {
        {LINK_STAGE_CMD, ENOENT, STATUS_NOT_FOUND, "cmd"},
        {LINK_STAGE_CMD, EACCES, STATUS_PERMISSION_DENIED, "cmd"},
        {LINK_STAGE_CMD, EISDIR, STATUS_PERMISSION_DENIED, "cmd"},
        {LINK_STAGE_CMD, ENOEXEC, STATUS_WRONG_TYPE, "cmd"},
        {LINK_STAGE_CWD, ENOENT, STATUS_NOT_FOUND, "cwd"},
        {LINK_STAGE_CWD, ENOTDIR, STATUS_WRONG_TYPE, "cwd"},
        {LINK_STAGE_USER, EPERM, STATUS_PERMISSION_DENIED, "user"},
        {LINK_STAGE_ARGS, E2BIG, STATUS_TOO_LARGE, "args"},
        {LINK_STAGE_NONE, EAGAIN, STATUS_LIMIT_EXCEEDED, ""},
        {LINK_STAGE_BUSY, EAGAIN, STATUS_BUSY, ""},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct seen seen = watching();
        struct failure failure;
        uint64_t id;

        assert_int_equal(order(NULL, &seen, &failure), 0);
        id = hear(LINK_SPAWN, NULL).spawn.job;
        say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                                   .job = id,
                                   .err = cases[i].err,
                                   .stage = cases[i].stage},
            -1);
        assert_int_equal(seen.started, 1);
        assert_int_equal(seen.failure.code, cases[i].code);
        assert_string_equal(seen.failure.field, cases[i].field);
        assert_int_equal(seen.failure.err, cases[i].err);
        assert_null(jobs_by_id_find(agent.jobs, id));
    }
    assert_int_equal(jobs_running(agent.jobs), 0);
}

static void only_so_many_run(void **state) {
    struct seen seen[5];
    struct failure failure;

    for (int i = 0; i < 5; i++)
        seen[i] = watching();
    for (int i = 0; i < 4; i++)
        running(NULL, 100 + i, &seen[i]);
    assert_int_equal(order(NULL, &seen[4], &failure), STATUS_LIMIT_EXCEEDED);
    exits(jobs_by_pid_find(agent.jobs, 102)->id);
    assert_int_equal(order(NULL, &seen[4], &failure), 0);
    for (int i = 0; i < 5; i++)
        job_unwatch(&seen[i].watch);
}

static void the_oldest_exited_are_forgotten(void **state) {
    uint64_t first = 0;
    struct seen seen;

    for (int i = 0; i < 5; i++) {
        uint64_t id;

        seen = watching();
        if (i == 4) { /* the first was forgotten with the fourth's exit: told with the next spawn */
            struct failure failure;

            assert_true(silent());
            assert_int_equal(order(NULL, &seen, &failure), 0);
            assert_int_equal(hear(LINK_FORGET, NULL).ref.job, first);
            hear(LINK_SPAWN, NULL);
            break;
        }
        id = running(NULL, 100 + i, &seen);
        first = first ? first : id;
        exits(id);
    }
    assert_int_equal(jobs_retained(agent.jobs), 3);
    assert_null(jobs_by_pid_find(agent.jobs, 100));
    assert_non_null(jobs_by_pid_find(agent.jobs, 101));
    job_unwatch(&seen.watch);
}

static void exited_ones_are_forgotten_in_time(void **state) {
    struct seen seen = watching();
    uint64_t id;

    agent.limit[LIMIT_retained_s] = 1;
    id = running("web", 100, &seen);
    exits(id);
    uv_ref((uv_handle_t *)&agent.jobs->expiry);
    while (jobs_by_tag_find(agent.jobs, "web"))
        uv_run(&agent.loop, UV_RUN_ONCE); /* cmocka's alarm is the test runner's timeout */
    assert_int_equal(hear(LINK_FORGET, NULL).ref.job, id);
    assert_false(uv_is_active((uv_handle_t *)&agent.jobs->expiry));
}

static void signalled(int err, void *arg) {
    *(int *)arg = err;
}

static void a_signal_is_answered(void **state) {
    union heard heard;
    int err = -1;

    assert_int_equal(link_signal(agent.link, 5, 15, LINK_SCOPE_GROUP, signalled, &err), 0);
    heard = hear(LINK_SIGNAL, NULL);
    assert_int_equal(heard.signal.job, 5);
    assert_int_equal(heard.signal.signal, 15);
    assert_int_equal(heard.signal.scope, LINK_SCOPE_GROUP);
    say(&(struct link_done){.h = {LINK_DONE, sizeof(struct link_done)},
                            .request = heard.signal.request,
                            .err = ESRCH},
        -1);
    assert_int_equal(err, ESRCH);
}

static void pings_are_answered_and_stopping_is_noted(void **state) {
    say(&(struct link_header){LINK_PING, sizeof(struct link_header)}, -1);
    hear(LINK_PONG, NULL);
    say(&(struct link_header){LINK_STOPPING, sizeof(struct link_header)}, -1);
    assert_true(agent.stopping);
}

/* More than the socket holds waits in order. */
static void a_full_link_loses_nothing(void **state) {
    enum { MANY = 5000 };

    for (uint64_t i = 0; i < MANY; i++) {
        struct link_job_ref message = {{LINK_CANCEL, sizeof(message)}, i};

        assert_int_equal(link_send(agent.link, &message, NULL, 0), 0);
    }
    for (uint64_t i = 0; i < MANY; i++) {
        if (silent())
            uv_run(&agent.loop, UV_RUN_ONCE);
        assert_int_equal(hear(LINK_CANCEL, NULL).ref.job, i);
    }
    assert_true(silent());
}

/* ── what goes ── */

/* Running ones need the room: the oldest exited lose their output, their records stay. */
static void pressure_takes_the_oldest_output(void **state) {
    uint64_t ids[2];

    for (int i = 0; i < 2; i++) {
        struct store_file file = store_file_make(STORE_HEAD, 4096, "", 0);
        struct seen seen = watching();
        struct failure failure;
        int spec;

        store_file_write(&file, 0, "output");
        assert_int_equal(order(NULL, &seen, &failure), 0);
        ids[i] = hear(LINK_SPAWN, &spec).spawn.job;
        close(spec);
        say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                                   .job = ids[i],
                                   .pid = 100 + i},
            file.fd);
        store_file_close(&file);
        exits(ids[i]);
    }
    say(&(struct link_pressure){{LINK_PRESSURE, sizeof(struct link_pressure)}, 3}, -1);
    assert_int_equal(hear(LINK_FORGET, NULL).ref.job, ids[0]);
    assert_true(silent());
    assert_null(jobs_by_id_find(agent.jobs, ids[0])->view.base);
    assert_int_equal(job_end(jobs_by_id_find(agent.jobs, ids[0]), 0), 6);
    assert_non_null(jobs_by_id_find(agent.jobs, ids[1])->view.base);
}

static void guestds_own_variables_are_not_for_programs(void **state) {
    struct jobs *jobs;
    bool mine = false;

    setenv("GUESTD_TEST", "x", 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("NOTIFY_SOCKET", "/n", 1);
    setenv("NOTIFY_SOCKETS", "mine", 1);
    jobs = jobs_new(&agent);
    for (const char **at = jobs->environ; *at; at++) {
        assert_int_not_equal(strncmp(*at, "GUESTD_", 7), 0);
        assert_int_not_equal(strncmp(*at, "LISTEN_", 7), 0);
        assert_int_not_equal(strncmp(*at, "NOTIFY_SOCKET=", 14), 0);
        mine |= !strcmp(*at, "NOTIFY_SOCKETS=mine");
    }
    assert_true(mine);
    jobs_free(jobs);
}

/* ── another agent's jobs ── */

static void send_job(uint64_t id, uint32_t flags, int32_t pid, uint32_t exited, const void *facts,
                     size_t len) {
    struct store_file file = store_file_make(STORE_DROP, 4096, facts, len);

    say(&(struct link_job){.h = {LINK_JOB, sizeof(struct link_job)},
                           .job = id,
                           .pid = pid,
                           .flags = flags,
                           .exited = exited,
                           .started_at = 1,
                           .result = {.exited_at = agent_now()}},
        file.fd);
    store_file_close(&file);
}

static void jobs_are_taken_over(void **state) {
    struct facts facts = {.tag = "db", .cmd = "postgres", .cwd = "/", .user = "pg"};
    static const char program[] = "/sbin/app\0--flag";
    msgpack_sbuffer blob;

    msgpack_sbuffer_init(&blob);
    assert_int_equal(facts_pack(&facts, &blob), 0);
    send_job(1, 0, 50, 0, blob.data, blob.size);
    send_job(2, LINK_SPAWN_MAIN, 51, 0, program, sizeof(program));
    send_job(3, 0, 52, 1, "rubbish", 7);
    msgpack_sbuffer_destroy(&blob);
    say(&(struct link_header){LINK_JOBS_END, sizeof(struct link_header)}, -1);
    assert_int_equal(link_start(&agent), 0);

    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "db")), 50);
    assert_int_equal(job_pid(jobs_by_tag_find(agent.jobs, "main")), 51);
    assert_string_equal(jobs_by_tag_find(agent.jobs, "main")->facts->cmd, "/sbin/app");
    assert_string_equal(jobs_by_tag_find(agent.jobs, "main")->facts->args.v[0], "--flag");
    assert_true(job_exited(jobs_by_pid_find(agent.jobs, 52)));
    assert_int_equal(jobs_running(agent.jobs), 2);
}

/* A full link dropped LINK_SPAWNED and LINK_EXITED: the table says it all. */
static void the_table_makes_up_for_lost_events(void **state) {
    struct seen seen = watching();
    struct failure failure;
    uint64_t id;

    assert_int_equal(order("web", &seen, &failure), 0);
    id = hear(LINK_SPAWN, NULL).spawn.job;
    send_job(id, 0, 70, 1, "", 0);
    assert_int_equal(seen.started, 1);
    assert_int_equal(seen.exited, 1);
    assert_true(job_exited(jobs_by_tag_find(agent.jobs, "web")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define WITH_LINK(test) cmocka_unit_test_setup_teardown(test, set_up_and_serve, tear_down)
        WITH_LINK(the_spec_is_sealed_and_whole),
        WITH_LINK(a_job_is_found_from_start_to_exit),
        WITH_LINK(a_tag_is_unique_among_the_running),
        WITH_LINK(one_that_only_starts_is_not_there_but_has_its_tag),
        WITH_LINK(failed_starts_are_typed),
        WITH_LINK(only_so_many_run),
        WITH_LINK(the_oldest_exited_are_forgotten),
        WITH_LINK(exited_ones_are_forgotten_in_time),
        WITH_LINK(a_signal_is_answered),
        WITH_LINK(pings_are_answered_and_stopping_is_noted),
        WITH_LINK(a_full_link_loses_nothing),
        WITH_LINK(the_table_makes_up_for_lost_events),
        WITH_LINK(pressure_takes_the_oldest_output),
        WITH_LINK(guestds_own_variables_are_not_for_programs),
        cmocka_unit_test_setup_teardown(jobs_are_taken_over, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
