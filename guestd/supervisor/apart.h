/* Closing what an agent may have made slow: close(2) waits for a socket that lingers, or for a file
 * server that doesn't answer. */
#pragma once

/*
 * Each in a thread of its own. When this returns they aren't ours any more, so that children made
 * from here on don't inherit them: unless the machine is too busy to begin within 50 ms, or there
 * can be no thread; then it stays open.
 */
void close_apart(const int *fds, unsigned count);
/* How many are under way. */
unsigned apart_closing(void);
