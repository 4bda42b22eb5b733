#!/bin/sh
# rootfs.sh GUESTD OUT [SIZE]: a small root filesystem: busybox, GUESTD as /sbin/init, a guestctl that lies beside it as
# /usr/bin/guestctl. OUT is an ext4 image, or a folder where it ends with a slash. Run as root: it makes files of other
# owners. Needs no mount and no loop device.
set -eu

[ $# -ge 2 ] || { echo "usage: $0 GUESTD OUT [SIZE]" >&2; exit 2; }
guestd=$(realpath "$1")
out=$(realpath -m "$2")
size=${3:-256M}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"

cd "$root"
mkdir -p bin sbin usr/bin usr/sbin etc dev proc sys run tmp root home/user var/tmp
chmod 1777 tmp var/tmp
chmod 700 root
chown 1000:1000 home/user

cp "$(command -v busybox)" bin/busybox
for name in $(bin/busybox --list-full); do
    # guestd is the init; what busybox would put in its place is left out.
    case $name in
    */init | */linuxrc | linuxrc | bin/busybox) continue ;;
    esac
    mkdir -p "$(dirname "$name")"
    ln -sf /bin/busybox "$name"
done

# A release binary needs nothing beside it. A plain build brings its libraries along.
add_program() {
    cp "$1" "$2"
    for lib in $(ldd "$1" 2>/dev/null | grep -o '/[^ :]*'); do
        [ -e ".$lib" ] || { mkdir -p ".$(dirname "$lib")" && cp -L "$lib" ".$lib"; }
    done
}
add_program "$guestd" sbin/init
guestctl=$(dirname "$guestd")/guestctl
[ ! -f "$guestctl" ] || add_program "$guestctl" usr/bin/guestctl

cat >etc/passwd <<'EOF'
root:x:0:0:root:/root:/bin/sh
user:x:1000:1000:user:/home/user:/bin/sh
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
EOF
cat >etc/group <<'EOF'
root:x:0:
audio:x:29:user
user:x:1000:
nogroup:x:65534:
EOF
echo '127.0.0.1 localhost' >etc/hosts
echo capsule >etc/hostname

case $2 in
*/)
    mkdir -p "$out"
    cp -a . "$out"
    exit
    ;;
esac
rm -f "$out"
truncate -s "$size" "$out"
mke2fs -q -t ext4 -O ^has_journal -m 0 -L capsule -d "$root" "$out"
