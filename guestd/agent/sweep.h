/* What the agents before this one left of their uploads. */
#pragma once

struct agent;

/* Removes it, on a pool thread: it lies wherever somebody wrote a file. */
void sweep_start(struct agent *agent);
