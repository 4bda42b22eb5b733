/* Closing what an agent may have made slow: close(2) waits for a socket that lingers, or for a file
 * server that doesn't answer. */
#pragma once

/* In a thread of its own, which has begun when this returns. Where there can be none it stays open.
 */
void close_apart(int fd);
/* How many are under way. */
unsigned apart_closing(void);
