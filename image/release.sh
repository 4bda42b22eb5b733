#!/bin/sh
# release.sh OUT: the release binaries, OUT/guestd and OUT/guestctl: musl, static-pie, stripped; they run in any root
# filesystem, an empty one too. Only musl's crt and libc.a, the distribution's gcc and its source packages go in.
#
# Why musl: glibc's start alone executes 68 CPUID instructions, each a VM exit (0.85 ms a start); musl executes none.
#
# The same sources make the same bytes, wherever they lie: assert() and its like get no path of this machine to tell.
#
# The libraries are built once, in GUESTD_CACHE (default ~/.cache/guestd); remove its folder `musl` to make them anew.
# Exit status 3: the source packages can't be had here, which is no fault of guestd.
set -eu

[ $# -eq 1 ] || { echo "usage: $0 OUT" >&2; exit 2; }
here=$(dirname "$(realpath "$0")")
out=$(realpath -m "$1")
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}
machine=$(uname -m)
musl=$cache/musl
prefix=$musl/root
cc=$musl/cc
cflags="-Os -ffunction-sections -fdata-sections -ffile-prefix-map=$musl/="
export LC_ALL=C

failure=1

say() { echo "release: $*" >&2; }

# Runs a noisy step; its words are shown only when it fails.
quietly() {
    "$@" >"$musl/log" 2>&1 || { cat "$musl/log" >&2; say "failed: $*"; exit "$failure"; }
}

# The compiler: gcc with musl's specs, mended. Debian's make -static-pie a dynamic executable that asks for ld-musl;
# rcrt1.o relocates itself. The kernel's headers are not musl's: a folder of links shows those and nothing of glibc's.
make_compiler() {
    specs=/usr/lib/$machine-linux-musl/musl-gcc.specs
    sed -e 's|Scrt1\.o|rcrt1.o|' \
        -e 's|-dynamic-linker [^ ]*|-static --no-dynamic-linker -z text --gc-sections|' "$specs" >"$musl/specs"
    mkdir -p "$musl/kernel"
    for dir in linux asm asm-generic; do
        for at in /usr/include/$dir "/usr/include/$machine-linux-gnu/$dir"; do
            [ ! -d "$at" ] || ln -sfn "$at" "$musl/kernel/$dir"
        done
    done
    cat >"$cc" <<EOF
#!/bin/sh
exec gcc "\$@" -specs="$musl/specs" -idirafter "$musl/kernel" -fPIE
EOF
    chmod +x "$cc"
}

# Source packages, through an apt configuration of our own: the machine's sources stay as they are.
fetch_sources() {
    apt=$musl/apt
    mkdir -p "$apt/parts" "$apt/lists/partial" "$apt/cache/archives/partial" "$musl/src"
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-.}")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*; do
        [ -f "$file" ] && grep -q "[[:space:]]$codename" "$file" || continue
        case $file in
        *.sources) sed 's/^Types:.*/Types: deb-src/' "$file" >"$apt/parts/${file##*/}" ;;
        *.list) sed -n "s/^deb \(.*[[:space:]]$codename.*\)/deb-src \1/p" "$file" >"$apt/parts/${file##*/}" ;;
        esac
    done
    # Read first, as apt does: two entries of one archive may differ in a later Signed-By, not in an earlier one.
    : >>"$apt/parts/sources.list"
    mv "$apt/parts/sources.list" "$apt/sources.list"
    set -- -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/parts" \
        -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root -q
    say "fetching the sources of libuv, msgpack-c and libmd"
    failure=3
    apt-get "$@" update >"$musl/log" 2>&1 || : # one dead source of several is none of ours
    cd "$musl/src"
    quietly apt-get "$@" source --only-source libuv1 msgpack-c libmd
    failure=1
    cd "$here"
}

# build_cmake SOURCE TARGET OPTION…: builds one target in SOURCE/out.
build_cmake() {
    source=$1
    target=$2
    shift 2
    say "building ${source##*/}"
    quietly cmake -S "$source" -B "$source/out" -DCMAKE_C_COMPILER="$cc" -DCMAKE_INSTALL_PREFIX="$prefix" \
        -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_BUILD_TYPE=None -DCMAKE_C_FLAGS="$cflags" "$@"
    quietly cmake --build "$source/out" --target "$target" -j "$(nproc)"
}

# libuv's cmake installs the static library only together with the shared one, which static-pie objects can't make.
build_libuv() {
    build_cmake "$1" uv_a -DBUILD_TESTING=OFF
    cp -r "$1/include" "$prefix/"
    cp "$(find "$1/out" -name 'libuv*.a')" "$prefix/lib/libuv.a"
    cat >"$prefix/lib/pkgconfig/libuv.pc" <<EOF
Name: libuv
Description: libuv
Version: ${1##*-}
Libs: -L$prefix/lib -luv -lpthread
Cflags: -I$prefix/include
EOF
}

build_msgpack() {
    build_cmake "$1" all -DBUILD_SHARED_LIBS=OFF -DMSGPACK_ENABLE_SHARED=OFF -DMSGPACK_BUILD_TESTS=OFF \
        -DMSGPACK_BUILD_EXAMPLES=OFF
    quietly cmake --install "$1/out"
}

build_libmd() {
    say "building ${1##*/}"
    cd "$1"
    quietly ./configure --quiet --host="$machine-linux-musl" --prefix="$prefix" --disable-shared \
        CC="$cc" CFLAGS="$cflags -O2"
    quietly make -s -C include install
    quietly make -s -C src -j "$(nproc)" install
    cd "$here"
}

build_libraries() {
    mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
    cd "$musl/src"
    for source in */; do
        source=$musl/src/${source%/}
        case ${source##*/} in
        libuv1-*) build_libuv "$source" ;;
        msgpack-c-*) build_msgpack "$source" ;;
        libmd-*) build_libmd "$source" ;;
        esac
    done
    cd "$here"
    echo "$cflags" >"$prefix/complete"
}

build_guestd() {
    build=$(mktemp -d "$musl/build.XXXXXX")
    trap 'rm -rf "$build"' EXIT
    seen=$(realpath --relative-to="$build" "$here/..") # as meson spells the tree to the compiler
    cat >"$musl/cross.ini" <<EOF
[binaries]
c = '$cc'
ar = 'ar'
strip = 'strip'
pkgconfig = 'pkg-config'
[properties]
pkg_config_libdir = '$prefix/lib/pkgconfig'
[built-in options]
c_args = ['-ffunction-sections', '-fdata-sections', '-ffile-prefix-map=$seen/=', '-ffile-prefix-map=$musl/=']
[host_machine]
system = 'linux'
cpu_family = '$machine'
cpu = '$machine'
endian = 'little'
EOF
    say "building guestd"
    quietly meson setup "$build" "$here/.." --cross-file "$musl/cross.ini" --strip -Dtests=false \
        -Dstatic_libraries=true -Doptimization=s -Ddebug=false -Ddefault_library=static
    quietly meson compile -C "$build"
    mkdir -p "$out"
    for program in guestd guestctl; do
        built=$(find "$build" -type f -name "$program")
        strip -s -o "$out/$program" "$built"
    done
}

# A binary that asks for an interpreter or a library runs here and nowhere else.
verify() {
    for program in guestd guestctl; do
        if readelf -lWd "$out/$program" | grep -Eq 'INTERP|\(NEEDED\)'; then
            say "$program is not static"
            exit 1
        fi
        say "$program: $(stat -c %s "$out/$program") bytes, $(file -b "$out/$program" | cut -d, -f1,2,4)"
    done
}

for tool in gcc meson ninja cmake make pkg-config apt-get dpkg-source; do
    command -v "$tool" >/dev/null || { say "needs $tool (image/run.sh installs what is missing)"; exit 1; }
done
[ -f "/usr/lib/$machine-linux-musl/rcrt1.o" ] || { say "needs musl-tools"; exit 1; }
mkdir -p "$musl"
exec 9>"$musl/lock" && flock 9 # one at a time: they share the compiler's files and the libraries
make_compiler
if [ "$(cat "$prefix/complete" 2>/dev/null)" != "$cflags" ]; then
    rm -rf "$musl/src" "$prefix"
    fetch_sources
    build_libraries
fi
build_guestd
verify
