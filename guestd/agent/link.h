/*
 * The agent's end of the link (guestd/link.h): sends orders, hands what comes back to the job
 * table. If the supervisor is gone (EOF), the agent ends.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "guestd/link.h"

struct agent;
struct link;

/*
 * Reads LINK_HELLO from LINK_FD, blocking, before the loop runs and before the seccomp filter is
 * loaded: fills agent->hello and up to LINK_LISTENERS fds. Returns 0, -errno, or -EPROTONOSUPPORT
 * (said already) when there is no version that both speak.
 */
int link_receive_hello(struct agent *agent, int ret_listeners[LINK_LISTENERS]);

/* Reads the job table (LINK_JOB … LINK_JOBS_END) into agent->jobs, still blocking, then starts
 * polling on the loop. agent->jobs must exist. Returns 0 or -errno. */
int link_start(struct agent *agent);

/* Sends one message; messages that a full link refuses wait in order in the agent's memory.
 * Consumes (closes) the fds in any case. Returns 0 or -ENOMEM. */
int link_send(struct link *link, const void *message, const int *fds, unsigned n_fds);

/* The same for a message without fds of which there may be many: -EAGAIN when the link is full, and
 * then jobs_feed is called when it isn't any more. */
int link_try(struct link *link, const void *message);

/* Tells the supervisor that listeners are served, or how many connections there are. */
void link_serving(struct agent *agent);

/* Asks; `done` gets a positive errno or 0. */
typedef void link_done_fn(int err, void *arg);
int link_signal(struct link *link, uint64_t job, int signal, enum link_scope scope,
                link_done_fn *done, void *arg);
int link_power(struct link *link, enum link_power_mode mode, uint32_t grace_ms, link_done_fn *done,
               void *arg);
/* `flags`: enum link_upgrade_flags. Consumes the executable in any case. */
int link_upgrade(struct link *link, int executable, uint32_t flags, link_done_fn *done, void *arg);

void link_close(struct agent *agent);
