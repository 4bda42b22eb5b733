#!/bin/sh
# backend.sh: prints the path of vhost-device-vsock, which shows a machine's vsock as a Unix socket the way Firecracker
# does. No distribution has it: built by cargo once, in GUESTD_CACHE (a minute; needs cargo-web and rustc-web, Debian's
# recent ones).
set -eu

cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}
program=$cache/vhost/bin/vhost-device-vsock

mkdir -p "$cache/vhost"
exec 9>"$cache/vhost/lock" && flock 9 # one builds, the others find it built
if [ ! -x "$program" ]; then
    echo 'building vhost-device-vsock, about a minute' >&2
    # /usr/bin first: another cargo that a person has may be too old, or of another target.
    PATH=/usr/bin:$PATH cargo install -q vhost-device-vsock --version 0.3.0 --locked --root "$cache/vhost" >&2
fi
echo "$program"
