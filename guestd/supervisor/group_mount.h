/* Where guestd's own cgroup (v2) is, by /proc/self/cgroup and /proc/self/mountinfo; on hybrid
 * systems too. */
#pragma once

/* `proc`: a directory fd of /proc. Returns a directory fd of the group, or -errno. */
int group_mount_open(int proc);
