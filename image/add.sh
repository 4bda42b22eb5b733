#!/bin/sh
# add.sh [--init] ROOTFS [OPTION…]: bakes guestd and guestctl into the root filesystem in the folder ROOTFS, whatever that is
# made of: the release binaries need nothing of it. Prints what starts guestd there:
#
#   init       guestd is /sbin/init: where there was none, or busybox without a service manager, or by --init
#   systemd    /usr/local/sbin/guestd is one of its services, with OPTIONs
#   openrc     the same
#
# The machine's init takes its options from the kernel's command line: guestd.OPTION=VALUE.
set -eu

here=$(dirname "$(realpath "$0")")
init=
[ "${1:-}" != --init ] || { init=1; shift; }
[ $# -ge 1 ] && [ -d "$1" ] || { echo "usage: $0 [--init] ROOTFS [OPTION...]" >&2; exit 2; }
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

link() { # TARGET PATH
    to=$(at "$2")
    mkdir -p "$(dirname "$to")"
    ln -sfn "$1" "$to"
}

# What a shell and systemd read as the same words.
put_options() { # PATH OPTION…
    to=$(at "$1")
    shift
    [ $# -gt 0 ] || return 0
    case $* in
    *[!A-Za-z0-9\ :/.=,_@-]*) die "options are words: $*" ;;
    esac
    mkdir -p "$(dirname "$to")"
    rm -f "$to"
    echo "GUESTD_OPTIONS=\"$*\"" >"$to"
}

# What is to start it, told by what is there.
kind() {
    own=$(readlink "$root/sbin/init") || : # none, or no link
    own=${own##*/}
    if [ -n "$init" ] || ! exists sbin/init || { [ -z "$own" ] && grep -q guestd-agent "$root/sbin/init"; }; then
        echo init # the last: an older guestd
    elif [ "$own" = systemd ]; then
        echo systemd
    elif exists sbin/openrc-run; then
        echo openrc
    elif [ "$own" = busybox ]; then
        echo init
    else
        die 'its init is neither systemd nor with OpenRC: --init puts guestd in its place'
    fi
}

kind=$(kind)
[ "$kind" != init ] || [ $# = 0 ] || die 'here guestd is the init: its options are for the kernel'\''s command line'
bin=$(sh "$here/binaries.sh")
put 755 "$bin/guestctl" usr/local/bin/guestctl
case $kind in
init)
    put 755 "$bin/guestd" sbin/init
    ;;
systemd)
    put 755 "$bin/guestd" usr/local/sbin/guestd
    put 644 "$here/guestd.service" etc/systemd/system/guestd.service
    link ../guestd.service etc/systemd/system/multi-user.target.wants/guestd.service
    put_options etc/default/guestd "$@"
    ;;
openrc)
    put 755 "$bin/guestd" usr/local/sbin/guestd
    put 755 "$here/guestd.openrc" etc/init.d/guestd
    link /etc/init.d/guestd etc/runlevels/default/guestd
    put_options etc/conf.d/guestd "$@"
    ;;
esac
echo "$kind"
