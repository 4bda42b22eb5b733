#!/bin/sh
# initrd.sh: a kernel and an initramfs for microVMs, GUESTD_CACHE/kernel/vmlinuz and GUESTD_CACHE/initrd.
#
# The kernel is the distribution's for clouds, taken out of its package once, without installing it. Its virtio and
# vsock drivers are modules: init.c, compiled here each time, loads them.
set -eu

here=$(dirname "$(realpath "$0")")
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}
kernel=$cache/kernel
modules='virtio_pci virtio_mmio virtio_blk ext4 vmw_vsock_virtio_transport vsock_loopback'

mkdir -p "$cache"
work=$(mktemp -d "$cache/initrd.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Copies a module and what it needs, and lists them in the order in which they load; a built-in one needs nothing.
add_module() {
    modprobe -d "$work/tree" -S "$version" --show-depends "$1" | while read -r how file _; do
        [ "$how" = insmod ] || continue
        name=$(basename "$file")
        name=${name%%.ko*}.ko
        ! grep -qx "$name" "$work/kernel/modules/list" || continue
        case $file in
        *.xz) xz -dc "$file" ;;
        *.zst) zstd -dc "$file" ;;
        *) cat "$file" ;;
        esac >"$work/kernel/modules/$name"
        echo "$name" >>"$work/kernel/modules/list"
    done
}

download() {
    meta=linux-image-cloud-$(dpkg --print-architecture)
    package=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/.*Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
    [ -n "$package" ] && (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package" >&2)
}

fetch_kernel() {
    # Lists that are missing or old name no package, or one that is gone.
    download || { apt-get update -q >&2 && download; } || { echo "initrd: no cloud kernel to be had" >&2; exit 1; }
    dpkg-deb -x "$work"/*.deb "$work/tree"
    version=$(ls "$work/tree/lib/modules")
    depmod -b "$work/tree" "$version"
    mkdir -p "$work/kernel/modules"
    : >"$work/kernel/modules/list"
    for module in $modules; do
        add_module "$module"
    done
    strip --strip-debug "$work"/kernel/modules/*.ko
    cp "$work"/tree/boot/vmlinuz-* "$work/kernel/vmlinuz"
    echo "$modules" >"$work/kernel/wanted"
    rm -rf "$kernel"
    mv "$work/kernel" "$kernel"
}

[ "$(cat "$kernel/wanted" 2>/dev/null)" = "$modules" ] || fetch_kernel
mkdir "$work/root"
cp -r "$kernel/modules" "$work/root/"
gcc -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Os -static -s -o "$work/root/init" "$here/init.c"
(cd "$work/root" && find . -exec touch -hd @0 {} + && find . | LC_ALL=C sort |
    cpio -o -H newc --quiet --reproducible -R 0:0) >"$work/initrd" # the same bytes each time
mv "$work/initrd" "$cache/initrd" # at once: machines may be booting from the old one
