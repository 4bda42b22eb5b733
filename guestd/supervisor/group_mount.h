/* Where guestd's own cgroup (v2) is, by /proc/self/cgroup and /proc/self/mountinfo; on hybrid
 * systems too. */
#pragma once

/* `proc`: a directory fd of /proc. Returns a directory fd of the group, or -errno. */
int group_mount_open(int proc);
/* The same where the group is the root of a cgroup2 at /sys/fs/cgroup, as the machine's init mounts
 * it; else -ENOENT. Not for containers: theirs may be a part of the tree only. */
int group_mount_open_root(int proc);
