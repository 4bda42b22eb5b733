#include "supervisor/pids.h"

#include <stdlib.h>
#include <string.h>

bool pids_has(const struct pids *pids, pid_t pid) {
    for (unsigned i = 0; i < pids->count; i++) {
        if (pids->pid[i] == pid)
            return true;
    }
    return false;
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
    pids->pid[pids->count++] = pid;
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
