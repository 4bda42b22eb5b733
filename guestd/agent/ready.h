/* `--ready ADDRESS`: connects out and says that guestd serves, until somebody answers (PROTOCOL.md,
 * "Ready"). */
#pragma once

#include "agent/agent.h"

/* Begins when an address is configured; tries again after 10 ms … 1 s. Returns 0 or -errno. */
int ready_start(struct agent *agent);
/* Ends later. */
void ready_close(struct agent *agent);
