/* `--ready ADDRESS`: connects out and says that guestd serves, until somebody answers (PROTOCOL.md,
 * "Ready"). */
#pragma once

#include "agent/agent.h"

typedef void ready_tried_fn(struct agent *agent);

/* Begins; tries again after 10 ms … 1 s. `tried` is called once, behind the first attempt, or after
 * a second of it. Returns 0 or -errno. */
int ready_start(struct agent *agent, ready_tried_fn *tried);
/* Ends later. */
void ready_close(struct agent *agent);
