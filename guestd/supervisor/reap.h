/* The reaper: the only place that waits for children. */
#pragma once

struct supervisor;

/* After SIGCHLD: takes everybody who is dead. */
void reap_all(struct supervisor *supervisor);
