#!/bin/sh
# Builds guestd and runs every test there is; README's second command.
#
#   sh tests/run.sh          all: plain, ASan+UBSan, valgrind, as PID 1, in a booted microVM
#   sh tests/run.sh quick    the plain build only: units, lint, end to end
#
# The last line is `N passed, N failed, N skipped`, all suites added up; the exit status says the same. Each skip is
# printed with its reason. BUILD=DIR builds elsewhere than in ./build; the sanitizers' build is DIR-asan.
set -u
cd "$(dirname "$0")/.." || exit 1
mode=${1:-all}
case $mode in all | quick) ;; *) echo "usage: sh tests/run.sh [quick]" >&2; exit 2 ;; esac

build=${BUILD:-build}
python=/usr/bin/python3
logs=$(mktemp -d) || exit 1
trap 'rm -rf "$logs"' EXIT
passed=0 failed=0 skipped=0

say() { printf '\n== %s\n' "$*"; }

# ── what is needed ──

packages='gcc meson ninja-build pkg-config libc6-dev linux-libc-dev libuv1-dev libmsgpack-dev libseccomp-dev libmd-dev
libcmocka-dev python3 python3-msgpack python3-pytest python3-pytest-timeout busybox-static util-linux procps scdoc
python3-pyte vim-tiny tmux git'
[ "$mode" = all ] && packages="$packages valgrind clang-format"

missing() {
    for package in $packages; do
        dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || printf '%s ' "$package"
    done
}

lack=$(missing)
if [ -n "$lack" ]; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: $lack(install them, or run this as root on Debian 12 or later)" >&2
        exit 1
    fi
    say "installing $lack"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086
    if ! { apt-get update -q && apt-get install -y -q --no-install-recommends $lack; } >"$logs/apt" 2>&1; then
        tail -n 20 "$logs/apt" >&2
        echo "missing: $(missing)(apt-get could not install them)" >&2
        exit 1
    fi
fi

# ── suites ──

add() { # passed failed skipped
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
}

count() { # LOG WORD: the number before WORD in the closing line that pytest, or a script of ours, ends with
    grep -E '[0-9]+ (passed|failed|skipped|errors?)' "$1" | tail -n 1 | grep -oE "[0-9]+ $2" | head -n 1 | cut -d' ' -f1
}

count_meson() { # LOG WORD…: the sum of meson's `Word:   N` lines
    log=$1; shift; total=0
    for word in "$@"; do
        n=$(sed -n "s/^$word: *\([0-9][0-9]*\).*/\1/p" "$log" | tail -n 1)
        total=$((total + ${n:-0}))
    done
    echo "$total"
}

suite() { # KIND NAME COMMAND…: runs it with its output shown, and adds up what it counted
    kind=$1 name=$2; shift 2
    say "$name"
    started=$(date +%s)
    { "$@" 2>&1; echo $? >"$logs/status"; } | tee "$logs/log"
    status=$(cat "$logs/status")
    case $kind in
    meson)
        p=$(count_meson "$logs/log" Ok 'Expected Fail')
        f=$(count_meson "$logs/log" Fail Timeout 'Unexpected Pass')
        s=$(count_meson "$logs/log" Skipped)
        ;;
    tests)
        p=$(count "$logs/log" passed) f=$(count "$logs/log" failed) s=$(count "$logs/log" skipped)
        e=$(count "$logs/log" 'errors?')
        p=${p:-0} s=${s:-0} f=$((${f:-0} + ${e:-0}))
        ;;
    esac
    # A suite that ended badly without a failed test, or that ran nothing, is a failure of its own.
    if [ "$status" != 0 ] && [ "$f" = 0 ] || [ $((p + f + s)) = 0 ]; then
        echo "$name: ended with status $status, having counted no failure"
        f=$((f + 1))
    fi
    printf -- '-- %s: %d passed, %d failed, %d skipped, %d s\n' "$name" "$p" "$f" "$s" $(($(date +%s) - started))
    add "$p" "$f" "$s"
}

pytest() { # FOLDER [OPTIONS]
    PYTHONDONTWRITEBYTECODE=1 $python -m pytest -q -rs -p no:cacheprovider --timeout 180 "$@"
}

compile() { # DIR OPTIONS…: configures once, builds always
    dir=$1; shift
    say "building $dir"
    if [ ! -f "$dir/build.ninja" ]; then
        meson setup "$dir" -Dwerror=true "$@" >"$logs/setup" 2>&1 || { tail -n 30 "$logs/setup"; return 1; }
    fi
    ninja -C "$dir" >"$logs/ninja" 2>&1 || { tail -n 60 "$logs/ninja"; return 1; }
    tail -n 1 "$logs/ninja"
}

binaries() { # DIR: what the end to end tests drive
    GUESTD=$(realpath "$1/guestd/guestd")
    GUESTCTL=$(find "$(realpath "$1")/proto" -type f -name guestctl | head -n 1)
    export GUESTD GUESTCTL
}

finish() {
    say "all suites"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
    exit
}

compile "$build" || { add 0 1 0; finish; }
suite meson 'units' meson test -C "$build" --no-rebuild --print-errorlogs
suite tests 'lint' pytest tests/lint
binaries "$build"
suite tests 'end to end' pytest tests/e2e

if [ "$mode" = all ]; then
    # What older kernels don't know is refused, so that each fallback runs.
    GUESTD_WRAPPER=$(realpath "$build/tests/e2e/without") GUESTD_NO_CGROUP_KILL=1 \
        suite tests 'end to end, an older kernel' pytest tests/e2e -m 'fallback and not native'
    GUESTD_NO_CLONE_INTO_CGROUP=1 \
        suite tests 'end to end, programs that move into their cgroup' pytest tests/e2e/test_tree.py tests/e2e/test_exec.py

    # The sanitizers' own threads and system calls are not on the agent's list: its filter is tested on the plain build.
    if compile "$build-asan" -Db_sanitize=address,undefined; then
        export ASAN_OPTIONS=detect_stack_use_after_return=1:allocator_may_return_null=1:quarantine_size_mb=16
        export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
        suite meson 'units, ASan+UBSan' meson test -C "$build-asan" --no-rebuild --print-errorlogs
        binaries "$build-asan"
        GUESTD_NO_SECCOMP=1 GUESTD_SANITIZED=1 suite tests 'end to end, ASan+UBSan' pytest tests/e2e -m 'not plain_only'
        unset ASAN_OPTIONS UBSAN_OPTIONS
    else
        add 0 1 0
    fi

    # valgrind has no clone3: the spawn's fallback runs here.
    binaries "$build"
    GUESTD_WRAPPER='valgrind -q --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite --trace-children=yes
        --trace-children-skip=/bin/*,/usr/*,/sbin/* --child-silent-after-fork=yes' \
        GUESTD_NO_SECCOMP=1 GUESTD_NO_CLONE3=1 \
        suite tests 'end to end, valgrind' pytest tests/e2e -m 'valgrind and not native'

    for folder in fault init vm image hostagent; do
        if [ -f "tests/$folder/run.sh" ]; then
            suite tests "tests/$folder" sh "tests/$folder/run.sh"
        elif ls "tests/$folder"/test_*.py >/dev/null 2>&1; then
            suite tests "tests/$folder" pytest "tests/$folder"
        fi
    done
fi
finish
