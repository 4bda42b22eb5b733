#!/bin/sh
# From a bare Debian to a capsule that is driven and gone again: installs what is missing, builds guestd, boots it as the
# init of a microVM and speaks to it over vsock, as a host does; then a host agent boots another and the API's curl
# commands are answered by it. Every answer is checked. Run as root.
#
#   sh image/run.sh                  a microVM; without QEMU a container of namespaces, and it says so
#   sh image/run.sh serve            leaves the host agent running, to play with, and prints a curl to try
#   GUESTD_CONTAINER=1 sh image/run.sh   the container at once
set -u
cd "$(dirname "$0")/.." || exit 1

work=$(mktemp -d) || exit 1 # short: socket paths end at 107 bytes
chmod 755 "$work"
capsule=
address=
started=$(date +%s)

if [ -t 1 ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') green=$(printf '\033[32m') red=$(printf '\033[31m')
    plain=$(printf '\033[0m')
else
    bold='' dim='' green='' red='' plain=''
fi

finish() {
    status=$?
    # boot.py ends its machine when it is told to end; unshare has to be killed, and kills what is in it.
    [ -z "$capsule" ] || kill "$stop" "$capsule" 2>/dev/null && wait "$capsule" 2>/dev/null
    rm -rf --one-file-system "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
note() { printf '  %-10s %s\n' "$1" "$2"; }
good() { printf '  %s✓ %s%s\n' "$green" "$*" "$plain"; }
die() {
    printf '  %s✗ %s%s\n' "$red" "$*" "$plain"
    [ ! -s "$work/machine/console" ] || { echo "the console's end:"; tail -n 20 "$work/machine/console"; }
    exit 1
}

# ── build ──

build() {
    title 'Building'
    sh image/needs.sh build || die 'cannot build here'
    sh image/release.sh "$work/bin" >"$work/release.log" 2>&1
    case $? in
    0) how='musl, static-pie' ;;
    3)
        note release 'the libraries'\'' sources cannot be had here: a plain build instead'
        meson setup "$work/plain" --buildtype=release -Dtests=false >"$work/log" 2>&1 &&
            meson compile -C "$work/plain" >>"$work/log" 2>&1 || { tail -n 30 "$work/log"; die 'the build failed'; }
        mkdir -p "$work/bin"
        find "$work/plain" -type f \( -name guestd -o -name guestctl \) -exec cp {} "$work/bin/" \;
        how='glibc, shared libraries'
        ;;
    *)
        tail -n 30 "$work/release.log"
        die 'the release build failed'
        ;;
    esac
    for program in guestd guestctl; do
        note "$program" "$(($(stat -c %s "$work/bin/$program") / 1024)) KiB, $how"
    done
    PATH=$work/bin:$PATH
}

# ── a capsule ──

# wait_line FILE PATTERN SECONDS: waits for a line of the booting machine's words.
wait_line() {
    tries=$(($3 * 20))
    until grep -qs "$2" "$1"; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && kill -0 "$capsule" 2>/dev/null || return 1
        sleep 0.05
    done
}

boot_machine() {
    [ -z "${GUESTD_CONTAINER:-}" ] || return 1
    sh image/needs.sh vm && sh image/backend.sh >/dev/null || return 1
    title 'Booting a microVM'
    mkdir "$work/machine"
    sh image/rootfs.sh "$work/bin/guestd" "$work/root.ext4" || die 'no root filesystem'
    stop=-TERM
    DIR=$work/machine sh image/boot.sh "$work/root.ext4" >"$work/boot" 2>"$work/boot.err" &
    capsule=$!
    wait_line "$work/boot" '^ready' 120 || { cat "$work/boot.err"; die 'it never became ready'; }
    address=$(sed -n 's/^ready //p' "$work/boot")
    note machine "$(sed -n 's/^hypervisor //p' "$work/boot"), $(sed -n 's/^accel //p' "$work/boot"), cloud kernel"
    note boot "$(sed -n 's/^phases //p' "$work/boot")"
    off="poweroff"
}

# No QEMU: the same binary as PID 1 of fresh namespaces, on a Unix socket.
start_container() {
    [ -n "${GUESTD_CONTAINER:-}" ] && title 'A container, as asked' || title 'No microVM can be had here: a container instead'
    sh image/needs.sh container || die 'nor can that'
    root=$work/root
    stop=-KILL
    sh image/rootfs.sh "$work/bin/guestd" "$root/" || die 'no root filesystem'
    unshare --mount --uts --ipc --net --pid --cgroup --fork --kill-child sh -c '
        mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && mount -t sysfs sysfs "$1/sys" &&
        mount -t tmpfs tmp "$1/tmp" && mount -t tmpfs run "$1/run" || exit 1
        mount -t cgroup2 cgroup "$1/sys/fs/cgroup" 2>/dev/null
        exec chroot "$1" /sbin/init --listen unix:/guestd.sock' sh "$root" >"$work/boot.err" 2>&1 &
    capsule=$!
    address=unix:$root/guestd.sock
    tries=200
    until guestctl --connect "$address" ping >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { cat "$work/boot.err"; die 'it never answered'; }
        sleep 0.05
    done
    note container 'namespaces by unshare, a Unix socket'
    off="exit"
}

# ── asking ──

asked=0

# ask STATUS ARGUMENT…: runs guestctl, shows what was asked and what came back, and checks its exit status. The answer
# stays in $work/answer.
ask() {
    want=$1
    shift
    printf '\n%s$ guestctl' "$bold"
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=@%+,-]* | '') printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '%s\n' "$plain"
    begin=$(date +%s%N)
    guestctl --connect "$address" "$@" </dev/null >"$work/answer" 2>"$work/answer.err"
    got=$?
    took=$((($(date +%s%N) - begin) / 1000000))
    if [ -z "${quiet:-}" ]; then
        sed "s/^/  $dim│$plain /" "$work/answer"
    fi
    sed "s/^/  $dim┊$plain /" "$work/answer.err"
    [ "$got" = "$want" ] || die "exit status $got, not $want"
    asked=$((asked + 1))
    good "exit status $got, $took ms"
}

# expect WHAT COMMAND…: a truth about the answer.
expect() {
    what=$1
    shift
    "$@" || die "not true: $what"
    good "$what"
}

answer_has() { grep -q -- "$1" "$work/answer"; }

drive() {
    title 'Driving it'
    ask 0 exec -- sh -c 'echo "hello from $(uname -sr)"; echo "I am pid $$, a child of $(readlink /proc/1/exe)"'
    expect 'guestd is PID 1' answer_has 'child of /sbin/init'

    ask 7 exec -- sh -c 'echo "this one fails" >&2; exit 7'

    title 'A command that never ends, and its child in another session'
    ask 124 exec --timeout 1 -- sh -c 'setsid sleep 4242 & sleep 4242'
    ask 1 exec -- sh -c 'ps | grep "sleep 424[2]"'
    expect 'nothing of it is left' test ! -s "$work/answer"

    title 'In the background, by tag'
    ask 0 exec -b --tag ticker -- sh -c 'while echo tick; do sleep 1; done'
    ask 0 ps
    expect 'it is listed' answer_has ticker
    ask 0 kill ticker
    ask 137 wait ticker
    ask 0 ps
    expect 'it is gone' test "$(grep -c ticker "$work/answer")" = 0

    title 'Bytes, unchanged'
    quiet=1 ask 0 exec -- cat /bin/busybox
    note output "$(stat -c %s "$work/answer") bytes"
    expect 'the same as were sent' cmp -s "$work/answer" "$(command -v busybox)"

    title 'A file of 64 MiB'
    head -c 67108864 /dev/urandom >"$work/upload"
    ask 0 mkdir /app/data/deep
    ask 0 write /app/data/big "$work/upload"
    note speed "$((64 * 1000 / (took + 1))) MiB/s"
    ask 0 exec -- sha256sum /app/data/big
    expect 'sha256 in the capsule is that of the host' answer_has "^$(sha256sum <"$work/upload" | cut -d' ' -f1) "
    ask 0 ls -R -l /app
    expect 'everything is listed' test "$(grep -Ec 'data|deep|big' "$work/answer")" -ge 3
    ask 0 rm /app
    ask 1 exec -- test -e /app
}

power_off() {
    title 'The end'
    ask 0 shutdown "$off"
    tries=400
    while kill -0 "$capsule" 2>/dev/null; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || die 'it did not end'
        sleep 0.05
    done
    wait "$capsule"
    status=$?
    capsule=
    [ "$status" = 0 ] || die "it ended with status $status"
    good "${1:-it} ended by itself"
}

[ "$(id -u)" = 0 ] || { echo 'run this as root: it installs packages and makes files of other owners' >&2; exit 1; }
case ${1:-} in
'') ;;
serve) sh image/needs.sh build && exec sh image/serve.sh ;;
*) echo "usage: $0 [serve]" >&2; exit 2 ;;
esac
build
if boot_machine; then
    drive
    power_off 'the machine'
    where='a microVM, over vsock'
else
    start_container
    drive
    power_off guestd
    where='a container, over a Unix socket: NOT the microVM'
fi
title 'The same by the API of a host agent: its pages'\'' curl commands'
sh image/serve.sh show || exit 1
printf '\n%sguestd was PID 1 of %s; %d requests, all as they should be, in %d s.%s\n' "$bold" "$where" "$asked" \
    "$(($(date +%s) - started))" "$plain"
