/*
 * The supervisor: PID 1 of a capsule, or a child subreaper elsewhere. It starts programs, drains
 * their output, reaps, kills, and keeps an agent running that speaks for the clients. It never
 * waits for anything but its own epoll, and parses nothing that came from outside.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "link.h"

struct supervisor_options {
    struct {
        int fd;
        struct link_listener told;
    } listener[LINK_LISTENERS];
    unsigned listeners;
    struct link_config config; /* for the agent */
    uint64_t max_jobs;
    uint32_t adoption_ms;  /* how long a stream waits after an agent's death; 0: 10 s */
    uint64_t output_total; /* bytes of output that all stores hold together; 0: no bound */
    uint64_t stdin_buffer; /* bytes of stdin that one program hasn't read; 0: no bound … */
    uint64_t stdin_total;  /* … and all together */
    uint32_t grace_ms;     /* SIGTERM to SIGKILL when guestd itself is told to stop */
    bool is_init;          /* the machine's init: its end powers the machine off */
    int executable;        /* of the agent: guestd's own file, opened */
    char *const *program;  /* PROGRAM ARGS… NULL, or NULL */
    char **arguments;      /* all of them, as guestd was started */
};

/* The first thing of all: blocks every signal (they wait for the loop), makes sure of fds 0 to 2,
 * umask 022. */
void supervisor_early(void);

/* Its whole life. Returns guestd's exit code; as the machine's init it doesn't return. */
int supervisor_run(const struct supervisor_options *options);

/*
 * The same for one that was executed by a supervisor (reexec.h), `back` again by its successor,
 * with the state on `fd`. `options` has the defaults for what an older one doesn't tell, and gets
 * the rest. What can't be taken over executes its writer again; a negative result says that this
 * failed too.
 */
int supervisor_resume(struct supervisor_options *options, int fd, bool back);
