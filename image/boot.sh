#!/bin/sh
# boot.sh IMAGE [KERNEL-ARGUMENT…]: starts one image (build.sh's root.ext4) as a microVM and prints where its guestd is: for
# `guestctl --connect`. Ends when the machine powers itself off, or at ^C. Nothing is written to IMAGE. Run as root.
#
#   DIR=…                            its sockets, its console and what it writes; a folder that goes when it ends
#   MEMORY=512 VCPUS=1               MiB, and a number
#   HYPERVISOR=qemu                  or firecracker, cloud-hypervisor: these where they and KVM are there, QEMU otherwise
set -eu

[ $# -ge 1 ] && [ -f "$1" ] || { echo "usage: $0 IMAGE [KERNEL-ARGUMENT...]" >&2; exit 2; }
here=$(dirname "$(realpath "$0")")
image=$(realpath "$1")
shift
sh "$here/needs.sh" vm
sh "$here/backend.sh" >/dev/null
[ -z "${DIR:-}" ] || mkdir -p "$DIR"
exec /usr/bin/python3 "$here/boot.py" "${DIR:--}" "$image" "$@" # signals find nobody between
