/* The reaper: the only place that waits for children. */
#pragma once

struct supervisor;

void reap_init(struct supervisor *supervisor);
/* After SIGCHLD: takes everybody who is dead, some at once and the others in later turns. */
void reap_all(struct supervisor *supervisor);
