#!/bin/sh
# debian.sh PACKAGE…: a Debian with these packages as a tar archive: this machine's release, from its mirrors. Prints its
# path. Made once: remove GUESTD_CACHE/debian for newer packages. Root only.
#
# The newest date in it is its own: that of the mirror's index, or SOURCE_DATE_EPOCH.
set -eu

[ $# -ge 1 ] || { echo "usage: $0 PACKAGE..." >&2; exit 2; }
cache=${GUESTD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/guestd}/debian
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
sum=$(echo "$*" "${SOURCE_DATE_EPOCH:-}" | cat - "$0" | sha256sum | cut -c -16)
out=$cache/$codename-$sum.tar
mkdir -p "$cache"
exec 9>"$out.lock" && flock 9 # one makes it, the others find it made
[ ! -e "$out" ] || { echo "$out"; exit; }

work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT

# The entries that this machine's apt has of its own Debian, and nobody else's.
sources() {
    apt-get indextargets --format '$(ORIGIN) deb $(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        sed -nE "s/^Debian (.* $codename(-updates|-security)? main)$/\1/p" | sort -u
}

# Their indexes as they are now, into $work/lists: this machine's own are as old as its last update.
fetch_indexes() {
    mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/parts"
    echo "$entries" | sed 's|^deb |&[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] |' >"$work/sources.list"
    apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts" \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o APT::Sandbox::User=root \
        update --error-on=any
}

# The newest date in them.
index_date() {
    for file in "$work/lists/"*Release; do
        date -d "$(sed -n 's/^Date: //p' "$file" | head -n 1)" +%s
    done | sort -n | tail -n 1
}

# Runs a noisy step; its last words are shown only when it fails.
quietly() {
    "$@" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
}

entries=$(sources)
if [ -z "$entries" ]; then
    apt-get update -q >&2 # a container's first
    entries=$(sources)
fi
[ -n "$entries" ] || { echo 'debian: apt has no sources of a Debian here' >&2; exit 1; }
echo "debian: $codename with $*, about a minute" >&2
quietly fetch_indexes
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(index_date)}
export SOURCE_DATE_EPOCH

# What a machine that is booted has no use for, and what would tell where it was made.
cat >"$work/clean" <<'END'
#!/bin/sh
set -eu
cd "$1"
rm -f root/.bashrc root/.profile etc/resolv.conf etc/apt/sources.list var/log/*.log var/log/apt/*
echo capsule >etc/hostname
printf '127.0.0.1 localhost\n::1 localhost\n127.0.1.1 capsule\n' >etc/hosts
cat >etc/apt/sources.list.d/debian.sources <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: $CODENAME $CODENAME-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.debian.org/debian-security
Suites: $CODENAME-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
END
chmod +x "$work/clean"

# Without an update of its own: by the indexes whose date this Debian bears.
export CODENAME="$codename" LISTS="$work/lists" TMPDIR="$work"
quietly mmdebstrap --variant=minbase --include="$*" \
    --skip=update --setup-hook='cp "$LISTS/"*_* "$1/var/lib/apt/lists/"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/info/*' --customize-hook="$work/clean" \
    --format=tar "$codename" "$work/tar" "$work/sources.list"
touch -d "@$SOURCE_DATE_EPOCH" "$work/tar"
mv "$work/tar" "$out"
echo "$out"
