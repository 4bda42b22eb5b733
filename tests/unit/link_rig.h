/*
 * An agent's job table and link without connections, and a supervisor that the test plays at the
 * other end of the link. For one test program: the state is static.
 */
#pragma once

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
    struct {
        struct link_spawn head;
        uint8_t spec[LINK_SPEC_HERE_MAX];
    } spawn_here;
    struct link_job_ref ref;
    struct link_signal signal;
};

/* ── the supervisor's side ── */

static inline void say(const void *message, int fd) {
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

/* The next message, and its first fd (-1: none). That the agent is in use may be said before it. */
static inline union heard hear(enum link_type type, int *ret_fd) {
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

    do {
        msg.msg_controllen = sizeof(control);
        assert_int_equal(poll(&ready, 1, DEADLINE_MS), 1);
        assert_true(recvmsg(supervisor, &msg, MSG_CMSG_CLOEXEC) > 0);
    } while (heard.h.type == LINK_SERVING && type != LINK_SERVING);
    assert_int_equal(heard.h.type, type);
    if (ret_fd)
        *ret_fd = -1;
    if (msg.msg_controllen > 0 && ret_fd)
        memcpy(ret_fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
    return heard;
}

static inline bool silent(void) {
    struct pollfd ready = {.fd = supervisor, .events = POLLIN};

    return poll(&ready, 1, 0) == 0;
}

/* ── watching ── */

struct seen {
    struct job_watch watch;
    int started, output, exited;
    struct failure failure;
};

static inline void on_started(struct job_watch *watch, const struct failure *failure) {
    struct seen *seen = (struct seen *)((char *)watch - offsetof(struct seen, watch));

    seen->started++;
    if (failure) {
        seen->failure = *failure;
        job_unwatch(watch);
    }
}

static inline void on_output(struct job_watch *watch) {
    ((struct seen *)((char *)watch - offsetof(struct seen, watch)))->output++;
}

static inline void on_exited(struct job_watch *watch) {
    ((struct seen *)((char *)watch - offsetof(struct seen, watch)))->exited++;
    job_unwatch(watch);
}

static inline struct seen watching(void) {
    return (struct seen){.watch = {on_started, on_output, on_exited, NULL, NULL, NULL}};
}

/* ── a job, step by step ── */

static inline int order_with(const char *tag, const char *arg, struct seen *seen,
                             struct failure *failure) {
    char *args[] = {(char *)(uintptr_t)arg, NULL};
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

static inline int order(const char *tag, struct seen *seen, struct failure *failure) {
    return order_with(tag, "-l", seen, failure);
}

/* Starts one and lets it run as `pid`; returns its id. */
static inline uint64_t running(const char *tag, int32_t pid, struct seen *seen) {
    struct store_file file = store_file_make(STORE_HEAD, 4096, "", 0);
    struct failure failure;
    uint64_t id;

    assert_int_equal(order(tag, seen, &failure), 0);
    id = hear(LINK_SPAWN, NULL).spawn.job;
    say(&(struct link_spawned){.h = {LINK_SPAWNED, sizeof(struct link_spawned)},
                               .job = id,
                               .pid = pid,
                               .started_at = agent_now()},
        file.fd);
    store_file_close(&file);
    assert_int_equal(seen->started, 1);
    return id;
}

static inline void exits(uint64_t id) {
    say(&(struct link_exited){.h = {LINK_EXITED, sizeof(struct link_exited)},
                              .job = id,
                              .result = {.exited_at = agent_now()}},
        -1);
}

static inline int set_up(void **state) {
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
    agent.hello.version = LINK_VERSION;
    agent.hello.restarts = 7;
    agent.jobs = jobs_new(&agent);
    assert_non_null(agent.jobs);
    return 0;
}

static inline int set_up_and_serve(void **state) {
    set_up(state);
    assert_true(send(supervisor, &(struct link_header){LINK_JOBS_END, sizeof(struct link_header)},
                     sizeof(struct link_header), 0) > 0);
    assert_int_equal(link_start(&agent), 0);
    return 0;
}

static inline int tear_down(void **state) {
    link_close(&agent);
    agent.jobs = jobs_free(agent.jobs);
    uv_run(&agent.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&agent.loop), 0);
    close(LINK_FD);
    close(supervisor);
    return 0;
}
