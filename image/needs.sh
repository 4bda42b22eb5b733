#!/bin/sh
# needs.sh GROUP…: installs what is missing of the groups `build` (guestd and its release binary), `template` (root
# filesystems of it), `vm` (booting it), `container` and `hostagent` (serving both). Debian 12 or later. Exit status 1,
# saying why, where something can't be had.
set -eu

have() { dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | grep -q '^ii'; }
exists() { apt-cache show "$1" >/dev/null 2>&1; }

packages_of() {
    case $1 in
    build) echo "gcc libc6-dev linux-libc-dev binutils meson ninja-build pkg-config libuv1-dev $(msgpack)" \
        "g++ libseccomp-dev libmd-dev musl-tools cmake make dpkg-dev file python3" ;;
    vm) echo "qemu-system-x86 qemu-utils lz4 python3-msgpack cpio kmod e2fsprogs busybox-static xz-utils zstd gcc libc6-dev binutils python3" \
        "ca-certificates $(rust)" ;;
    template) echo "mmdebstrap e2fsprogs python3 cpio zstd util-linux" ;;
    container) echo "busybox-static util-linux python3" ;;
    hostagent) echo "python3-aiohttp python3-msgpack python3-pytest python3-pytest-timeout curl util-linux" ;;
    *) echo "needs: no group $1" >&2; exit 2 ;;
    esac
}

# What builds the vsock backend, unless it is there. Debian 12's own rustc is too old for it: its updates bring a recent
# one under another name.
rust() {
    if [ -x "${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}/vhost/bin/vhost-device-vsock" ]; then
        return
    elif have rustc-web || exists rustc-web; then
        echo rustc-web cargo-web
    else
        echo rustc cargo
    fi
}

# Debian 13 gave the C library a package of its own.
msgpack() {
    if exists libmsgpack-c-dev; then
        echo libmsgpack-c-dev
    else
        echo libmsgpack-dev
    fi
}

missing() {
    for group in "$@"; do
        for package in $(packages_of "$group"); do
            have "$package" || printf '%s ' "$package"
        done
    done
}

lack=$(missing "$@")
[ -n "$lack" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: $lack(install them, or run this as root on Debian 12 or later)" >&2
    exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt-get update -q >"$log" 2>&1 || :
lack=$(missing "$@") # the fresh lists may know better names
echo "installing $lack" >&2
# shellcheck disable=SC2086
if ! apt-get install -y -q --no-install-recommends $lack >"$log" 2>&1; then
    tail -n 15 "$log" >&2
    exit 1
fi
