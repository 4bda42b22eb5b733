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

static void make_all(struct supervisor *supervisor) {
    supervisor->unmade = false;
    if (supervisor->is_init)
        boot_network();
    make_groups(supervisor);
}

void settle_begin(struct supervisor *supervisor) {
    struct groups *groups = &supervisor->groups;
    supervisor->unsettled = supervisor->unmade = true;
    supervisor->foreseen = supervisor->options->program == NULL && supervisor->is_init &&
                           getenv("GUESTD_NO_CGROUP") == NULL &&
                           groups_foresee(groups, supervisor->nursery.proc) == 0;
    if (supervisor->options->program != NULL)
        make_all(supervisor);
    else if (!supervisor->foreseen)
        groups_none(groups);
}

void settle_unforeseen(struct supervisor *supervisor) {
    if (supervisor->unmade && !supervisor->foreseen)
        make_all(supervisor);
}

const char *settle(struct supervisor *supervisor) {
    if (!supervisor->unsettled)
        return NULL;
    supervisor->unsettled = false;
    uint32_t told = supervisor->groups.controllers;
    if (supervisor->unmade)
        make_all(supervisor);
    groups_move_apart(&supervisor->groups, supervisor->keeper.pid);
    return !supervisor->foreseen || (supervisor->cgroups && supervisor->groups.controllers == told)
               ? NULL
               : "it was told of cgroups that can't be had";
}

bool settle_cgroups(const struct supervisor *supervisor) {
    return supervisor->cgroups || (supervisor->unmade && supervisor->foreseen);
}
