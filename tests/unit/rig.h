/*
 * A rig for the supervisor's tests: a real supervisor in a process of its own, and the test itself
 * in the agent's place.
 *
 * The supervisor starts this test's own binary as its "agent"; that process only passes its end of
 * the link on to the test and sleeps. So the test speaks the link, and killing the agent is killing
 * that process.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "link.h"

union rig_message {
    struct link_header h;
    struct link_hello hello;
    struct link_job job;
    struct link_spawned spawned;
    struct link_output output;
    struct link_exited exited;
    struct link_done done;
    struct link_taken taken;
};

struct rig_letter {
    union rig_message message;
    int fd;
    struct rig_letter *next;
};

struct rig {
    pid_t supervisor;
    int door; /* where agents hand their link over */
    int link;
    pid_t agent;
    struct link_hello hello;
    uint64_t jobs;
    struct rig_letter *inbox;
    char name[64];
};

struct rig_options {
    const char *env[8]; /* NAME=VALUE for the supervisor */
    char *const *program;
    char **arguments; /* NULL: a name alone */
    /* In the supervisor's process: it doesn't start, but goes on from the state on this fd. */
    int (*resume)(const struct rig *rig);
    uint64_t max_jobs;
    uint32_t grace_ms;
    uint32_t adoption_ms; /* 0: as ever */
    uint64_t output_total;
    uint64_t stdin_buffer, stdin_total; /* 0: no bound */
    bool no_agent;                      /* none will come */
    bool wait_table;                    /* leave LINK_JOB and LINK_JOBS_END to the test */
};

/* Asserts that it works: returns with the table read and LINK_SERVING sent. */
void rig_start(struct rig *rig, const struct rig_options *options);
/* Takes the next agent's link. */
void rig_next_agent(struct rig *rig, bool wait_table);
/* SIGTERM; returns the supervisor's exit code, and asserts that it came within seconds. */
int rig_stop(struct rig *rig);
int rig_wait(struct rig *rig);

/* Waits up to 15 s for a message of the type (and job, if not 0); others are kept for later. The fd
 * is the caller's. */
union rig_message rig_expect(struct rig *rig, uint32_t type, uint64_t job, int *ret_fd);
/* Whether one of the type is there within `ms`; it stays. */
bool rig_comes(struct rig *rig, uint32_t type, uint64_t job, int ms);
void rig_send(struct rig *rig, const void *message, size_t size, const int *fds, unsigned n_fds);

struct rig_job {
    const char *const *argv; /* argv[0] is also the path */
    const char *const *candidates;
    const char *const *envp;
    const char *cwd;
    const uint32_t *groups;
    unsigned n_groups;
    const char *input; /* stdin, or NULL */
    const char *facts;
    bool in_file;            /* the spec comes as a memfd, though it is short */
    struct link_spawn order; /* sizes default to 64 KiB HEAD, a terminal's second to 0 */
};
/* Sends LINK_SPAWN; returns the job's id. */
uint64_t rig_spawn(struct rig *rig, const struct rig_job *job);
/* The same for `sh -c script`. */
uint64_t rig_shell(struct rig *rig, const char *script, struct link_spawn order);
/* Asserts that it started. The store's fd is the caller's if asked for. */
struct link_spawned rig_started(struct rig *rig, uint64_t job, int *ret_store);
/* Asserts that a new agent is told of it, now or as soon as it has started. */
void rig_inherited(struct rig *rig, uint64_t job, int *ret_store);
struct link_result rig_exited(struct rig *rig, uint64_t job);

/* What a store keeps of a channel, from its oldest byte; *ret_from: the offset of the first. Freed
 * by the caller. */
char *rig_output(int store, unsigned channel, uint64_t *ret_from, uint64_t *ret_end);

void rig_look(struct rig *rig, uint64_t job, const uint64_t acked[2], const uint64_t seen[2],
              uint32_t flags);
void rig_ref(struct rig *rig, uint32_t type, uint64_t job);
uint64_t rig_signal(struct rig *rig, uint64_t job, int signal, uint32_t scope);
/* LINK_DONE's err. */
int rig_done(struct rig *rig, uint64_t request);

/* Whether the process is there and no zombie. */
bool rig_alive(pid_t pid);
/* Waits up to 10 s until `condition` holds. */
#define rig_until(condition)                       \
    do {                                           \
        int rig_tries = 0;                         \
        while (!(condition) && rig_tries++ < 2000) \
            usleep(5000);                          \
        assert_true(condition);                    \
    } while (0)
