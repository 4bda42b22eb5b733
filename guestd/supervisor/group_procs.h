/*
 * Who is in a cgroup and below it: programs that are root may split their group up, as container
 * engines and service managers do.
 */
#pragma once

#include "supervisor/pids.h"

/*
 * The pids in cgroup `name` of directory fd `above`, and in the groups below it, are added to
 * `ret`; as many groups as PID 1 can afford to look at: cgroup.kill reaches the others too.
 * Returns 0 or -errno: it can't be read. cgroup.procs in cgroups(7)
 */
int group_procs(int above, const char *name, struct pids *ret);
