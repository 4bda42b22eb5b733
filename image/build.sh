#!/bin/sh
# build.sh NAME [OUT]: makes a template, a root filesystem with guestd as its init, in OUT/NAME, and prints that folder.
# Debian, of this machine's release; the same inputs make the same bytes. Root only.
#
#   minimal        git; a user `user`; /app, /data and /workspace
#   base-python    that, and python
#
#   root.ext4      a disk (sparse; SIZE, default 4G)        KINDS names those that are wanted: ext4 tar oci initramfs
#   root.tar       the tree
#   oci.tar        an OCI image: `podman load -i`
#   initramfs      the tree with the drivers of initrd.sh's kernel: boots without a disk
#
# What is there already of the same inputs stays. The Debian below is made once: remove GUESTD_CACHE/debian for a new one.
set -eu

here=$(dirname "$(realpath "$0")")
name=${1:-}
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}
kinds=${KINDS:-ext4 tar oci initramfs}
size=${SIZE:-4G}
uuid=67756573-7464-4000-8000-726f6f746673 # any: it has to be the same each time
export LC_ALL=C
umask 022

case $name in
minimal) packages='ca-certificates git procps' ;;
base-python) packages='ca-certificates git procps python-is-python3 python3' ;;
*) echo "usage: $0 minimal|base-python [OUT]" >&2; exit 2 ;;
esac
case $kinds in
*initramfs*) sh "$here/needs.sh" build template vm ;;
*) sh "$here/needs.sh" build template ;;
esac
mkdir -p "${2:-$cache/templates}"
out=$(realpath "${2:-$cache/templates}")/$name

# shellcheck disable=SC2086
base=$(sh "$here/debian.sh" $packages)
RELEASE=$(sh "$here/binaries.sh")
export RELEASE
# The template's own date is that of the Debian below.
date=${SOURCE_DATE_EPOCH:-$(stat -c %Y "$base")}
export E2FSPROGS_FAKE_TIME="$date" SOURCE_DATE_EPOCH="$date"

exec 9>"$out.lock" && flock 9 # one makes it, the others find it made
inputs=$(cd "$here" && { echo "$date $size" && stat -c '%n %s %Y' "$base" &&
    cat build.sh add.sh oci.py initrd.sh init.c "$RELEASE/guestd" "$RELEASE/guestctl"; } | sha256sum)
if [ "$(cat "$out/inputs" 2>/dev/null)" != "$inputs" ]; then
    rm -rf "$out"
    mkdir -p "$out"
    echo "$inputs" >"$out/inputs"
fi

work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root

make_tree() {
    mkdir "$root"
    tar -xpf "$base" --xattrs --xattrs-include='*' -C "$root"
    chroot "$root" useradd -m -k /var/empty -u 1000 -s /bin/bash user # a home without a shell's settings, as root's
    # One payload owns all of a capsule: git needn't refuse root the folders of `user`.
    printf '[safe]\n\tdirectory = *\n' >"$root/etc/gitconfig"
    install -d -o 1000 -g 1000 "$root/app" "$root/data" "$root/workspace"
    sh "$here/add.sh" "$root" >&2
    find "$root" -newermt "@$date" -exec touch -hd "@$date" {} +
}

# mke2fs takes the times of access and of change from the files that it copies: those are of now, and nobody can set them.
make_ext4() {
    truncate -s "$size" "$1"
    mke2fs -q -t ext4 -O ^has_journal -m 0 -L capsule -U "$uuid" -E "hash_seed=$uuid" -d "$root" "$1"
    dumpe2fs -h "$1" 2>/dev/null | awk -F: -v "date=$date" '
        /^Inode count/ { count = $2 }
        /^Free inodes/ { used = count - $2 }
        END {
            for (i = 2; i <= used; i++)
                if (i == 2 || i > 10) # those between are the file system'\''s own
                    printf "sif <%d> atime @%d\nsif <%d> ctime @%d\n", i, date, i, date
        }' >"$work/times"
    debugfs -w -f "$work/times" "$1" >"$work/log" 2>&1
}

make_tar() {
    tar -C "$root" --sort=name --numeric-owner --format=posix --xattrs --xattrs-include='security.*' \
        --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' -cf "$1" .
    touch -d "@$date" "$1"
}

make_oci() {
    make_kind tar root.tar
    python3 "$here/oci.py" "$out/root.tar" "$1" "$name"
}

# The machine's own initramfs comes second: its /init loads the drivers, and goes on in a root that has a /sbin/init.
make_initramfs() {
    sh "$here/initrd.sh"
    { (cd "$root" && find . -print0 | sort -z | cpio -0 -o -H newc --quiet --reproducible) && cat "$cache/initrd"; } |
        zstd -q -o "$1"
}

make_kind() { # KIND FILE
    [ ! -e "$out/$2" ] || return 0
    [ -d "$root" ] || make_tree
    "make_$1" "$work/$2"
    mv "$work/$2" "$out/$2"
}

for kind in $kinds; do
    case $kind in
    ext4 | tar) make_kind "$kind" "root.$kind" ;;
    oci) make_kind oci oci.tar ;;
    initramfs) make_kind initramfs initramfs ;;
    *) echo "build: no kind $kind" >&2; exit 2 ;;
    esac
done
echo "$out"
