#!/bin/sh
# container.sh FOLDER TREE CGROUP NAME: runs as PID 1 of fresh namespaces, makes a capsule's world of them, and becomes its
# guestd. FOLDER holds upper, work, root and run; TREE is the template's root file system, which is only read.
set -eu
folder=$1 tree=$2 cgroup=$3 name=$4
root=$folder/root

echo 0 >"$cgroup/cgroup.procs"
hostname "$name"
mount -t overlay overlay -o "lowerdir=$tree,upperdir=$folder/upper,workdir=$folder/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"

mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for fd in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${fd%:*}" "$root/dev/${fd#*:}"; done
for device in null zero full random urandom tty; do
    : >"$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done

# The host's end of it: guestd's socket, and the one where it says `ready`.
mkdir "$root/run/guestd"
mount --bind "$folder/run" "$root/run/guestd"

# Only now, and without a fork: the cgroup that it is in becomes the root of what it sees.
exec unshare --cgroup sh -c '
    mount -t cgroup2 cgroup "$1/sys/fs/cgroup"
    exec chroot "$1" /sbin/init --listen unix:/run/guestd/s --ready unix:/run/guestd/ready' sh "$root"
