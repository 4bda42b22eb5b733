#!/bin/sh
# boot.sh [ROUNDS]: what guestd takes of a boot, from the exec of /sbin/init to `ready`, beside the least that an init of
# its shape could take there (skeleton.c). In turn, so that both see the same machine. GUESTD=… takes that one.
set -eu
cd "$(dirname "$0")/../.."
sh image/needs.sh build vm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
musl-gcc -static -Os -s -idirafter /usr/include -idirafter "/usr/include/$(uname -m)-linux-gnu" \
    -D_GNU_SOURCE -o "$work/skeleton" tests/bench/skeleton.c
guestd=${GUESTD:-$(sh image/binaries.sh)/guestd}
/usr/bin/python3 tests/bench/boot.py "${1:-9}" "skeleton=$work/skeleton" "guestd=$guestd"
