/* `--ready ADDRESS`: connects out and says that guestd serves, until somebody answers (PROTOCOL.md,
 * "Ready"). */
#pragma once

#include "agent/agent.h"

typedef void ready_report_fn(struct agent *agent);

/* Begins; tries again after 10 ms … 1 s. `report` is called behind the first attempt, or after a
 * second of it; and once agent->ready_answered. Returns 0 or -errno. */
int ready_start(struct agent *agent, ready_report_fn *report);
/* Ends later. */
void ready_close(struct agent *agent);
