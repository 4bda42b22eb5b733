#include "supervisor/pids.h"

#include <stdlib.h>
#include <string.h>

/* Where it is, or would be. */
static unsigned place(const struct pids *pids, pid_t pid) {
    unsigned from = 0, to = pids->count;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        if (pids->pid[middle] < pid)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

bool pids_has(const struct pids *pids, pid_t pid) {
    unsigned at = place(pids, pid);
    return at < pids->count && pids->pid[at] == pid;
}

void pids_add(struct pids *pids, pid_t pid) {
    if (pids_has(pids, pid))
        return;
    if (pids->count == pids->room) {
        unsigned room = pids->room > 0 ? pids->room * 2 : 16;
        pid_t *grown = realloc(pids->pid, room * sizeof *grown);
        if (grown == NULL)
            return;
        pids->pid = grown;
        pids->room = room;
    }
    unsigned at = place(pids, pid);
    memmove(&pids->pid[at + 1], &pids->pid[at], (pids->count - at) * sizeof *pids->pid);
    pids->pid[at] = pid;
    pids->count++;
}

unsigned pids_beyond(const struct pids *pids, const struct pids *others) {
    unsigned count = 0;
    for (unsigned i = 0; i < pids->count; i++)
        count += !pids_has(others, pids->pid[i]);
    return count;
}

void pids_deinit(struct pids *pids) {
    free(pids->pid);
    memset(pids, 0, sizeof *pids);
}
