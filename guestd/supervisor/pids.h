/* A small set of pids, for counting who was hit by a signal and who is alive. Without memory it
 * counts fewer. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct pids {
    pid_t *pid; /* rising */
    unsigned count, room;
};

bool pids_has(const struct pids *pids, pid_t pid);
void pids_add(struct pids *pids, pid_t pid);
/* How many of `pids` are not in `others`. */
unsigned pids_beyond(const struct pids *pids, const struct pids *others);
void pids_deinit(struct pids *pids);
