/*
 * A cgroup and the groups below it: programs that are root may split their group up, as container
 * engines and service managers do. As many groups as PID 1 can afford to look at.
 */
#pragma once

#include <stdbool.h>

#include "supervisor/pids.h"

/*
 * The pids in cgroup `name` of directory fd `above`, and in the groups below it, are added to
 * `ret`. Those that are too many or too deep are left to cgroup.kill. Returns 0 or -errno: it can't
 * be read. cgroup.procs in cgroups(7)
 */
int group_tree_list(int above, const char *name, struct pids *ret);
/* It has groups below it. */
bool group_tree_is_split(int above, const char *name);
/* Removes it with the groups below it, if nobody is in them. */
void group_tree_remove(int above, const char *name);
