/*
 * One message of the link (guestd/link.h), in or out, on LINK_FD. A message that isn't as long as
 * its type, or brings other than its fds, is refused as a whole.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "guestd/link.h"

#define LINK_FDS_MAX (LINK_LISTENERS > 2 ? LINK_LISTENERS : 2)

union link_message {
    struct link_header h;
    struct link_hello hello;
    struct link_job job;
    struct link_spawned spawned;
    struct link_output output;
    struct link_job_ref ref;
    struct link_exited exited;
    struct link_done done;
    struct link_counts counts;
    struct link_taken taken;
};

/* The supervisor's version, from LINK_HELLO: of another than ours, what is longer than we know is
 * cut, what is shorter goes on in zeros (guestd/link.h, "Versions"). */
void link_message_speak(uint32_t version);

/* Returns 0 with a message and its fds, which are the caller's now; -EAGAIN; -EPIPE when the
 * supervisor is gone; -EBADMSG; -errno. */
int link_message_receive(union link_message *message, int fds[LINK_FDS_MAX], unsigned *ret_n_fds);
/* The same, waiting for it at most `ms`, or for ever (-1): -ETIMEDOUT. Used before there is a loop.
 */
int link_message_wait(union link_message *message, int fds[LINK_FDS_MAX], unsigned *ret_n_fds,
                      int ms);

/* Returns 0, -EAGAIN, or -errno when the link is broken. The fds stay the caller's. */
int link_message_send(const void *bytes, size_t size, const int *fds, unsigned n_fds);

void link_message_close(const int *fds, unsigned n);
