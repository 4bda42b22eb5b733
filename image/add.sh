#!/bin/sh
# add.sh [--init] ROOTFS: bakes guestd and guestctl into the root filesystem in the folder ROOTFS, whatever it is
# made of: the release binaries need nothing of it.
#
#   no init of its own     guestd becomes /sbin/init; so it does over an init that is nothing but a link to busybox
#   --init                 guestd becomes /sbin/init in any case
#
# The machine's init takes its OPTIONs from the kernel's command line (guestd.OPTION=VALUE).
set -eu

here=$(dirname "$(realpath "$0")")
init=
[ "${1:-}" != --init ] || { init=1; shift; }
[ $# -ge 1 ] && [ -d "$1" ] || { echo "usage: $0 [--init] ROOTFS" >&2; exit 2; }
root=$(realpath "$1")
shift

die() {
    echo "add: $*" >&2
    exit 1
}

# A path in ROOTFS. Its links may lead out of it, to this machine: nothing is written there.
at() {
    path=$(realpath -m "$root/$(dirname "$1")")
    case $path/ in
    "$root"/*) echo "$path/$(basename "$1")" ;;
    *) die "$1 leads out of $root" ;;
    esac
}

exists() { [ -e "$root/$1" ] || [ -L "$root/$1" ]; }

put() { # MODE SOURCE PATH
    to=$(at "$3")
    mkdir -p "$(dirname "$to")"
    rm -f "$to" # never through a link, nor into a file that runs
    install -m "$1" "$2" "$to"
}

# What starts it, told by what is there.
kind() {
    if [ -n "$init" ] || ! exists sbin/init; then
        echo init
    elif [ "$(basename "$(readlink "$root/sbin/init")")" = busybox ] || grep -qs guestd-agent "$root/sbin/init"; then
        echo init
    else
        die 'it has an init of its own: --init replaces it'
    fi
}

kind=$(kind)
bin=$(sh "$here/binaries.sh")
put 755 "$bin/guestctl" usr/local/bin/guestctl
case $kind in
init)
    put 755 "$bin/guestd" sbin/init
    ;;
esac
echo "$kind"
