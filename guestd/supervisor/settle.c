#include "supervisor/settle.h"

#include <stdlib.h>
#include <unistd.h>

#include "supervisor/boot.h"

static void make_groups(struct supervisor *supervisor) {
    struct nursery *nursery = &supervisor->nursery;
    supervisor->cgroups = getenv("GUESTD_NO_CGROUP") == NULL &&
                          groups_init(&supervisor->groups, nursery->proc, supervisor->job_nonce,
                                      supervisor->keeper.pid) == 0;
    if (!supervisor->cgroups)
        groups_none(&supervisor->groups);
    nursery->groups = supervisor->groups.jobs;
    nursery->controllers = supervisor->groups.controllers;
}

void settle_begin(struct supervisor *supervisor) {
    supervisor->unsettled = supervisor->is_init && supervisor->options->program == NULL &&
                            getenv("GUESTD_NO_CGROUP") == NULL &&
                            groups_foresee(&supervisor->groups, supervisor->nursery.proc) == 0;
    if (supervisor->unsettled)
        return;
    if (supervisor->is_init)
        boot_network();
    make_groups(supervisor);
}

const char *settle(struct supervisor *supervisor) {
    if (!supervisor->unsettled)
        return NULL;
    uint32_t foreseen = supervisor->groups.controllers;
    supervisor->unsettled = false;
    boot_network();
    make_groups(supervisor);
    return supervisor->cgroups && supervisor->groups.controllers == foreseen
               ? NULL
               : "it was told of cgroups that can't be had";
}

bool settle_cgroups(const struct supervisor *supervisor) {
    return supervisor->cgroups || supervisor->unsettled;
}
