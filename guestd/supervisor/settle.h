/*
 * What of a machine's start only programs see: the loopback and the job cgroups. Together they take
 * as long as all the rest (the kernel waits for grace periods of RCU), so that `ready` needn't wait
 * for them: they are made once the agent serves, or at its first order. Only the machine's init,
 * which has a whole cgroup v2 to itself, can tell the agent beforehand what will be there; others
 * make them while the agent starts, before it is told anything. Where guestd isn't in their way, it
 * moves to its own group last.
 */
#pragma once

#include "supervisor/state.h"

/* At the start: puts it off, or makes what a program waits for. */
void settle_begin(struct supervisor *supervisor);
/* The agent is on its way: makes what couldn't be foreseen. */
void settle_unforeseen(struct supervisor *supervisor);
/* Does what was put off, if anything was. NULL, or why the agent that is there must go. */
const char *settle(struct supervisor *supervisor);
/* Jobs have cgroups, or will have. */
bool settle_cgroups(const struct supervisor *supervisor);
