#!/bin/bash
# kernel.sh 6.1|6.12|7 [--refresh]: have a stock Debian kernel unpacked in the cache, print its folder.
#
# The folder ($CTHELPERD_CACHE, default ~/.cache/cthelperd, then kernel-SERIES) holds
#   vmlinuz     the kernel        release   its full version
#   modules     -> lib/modules/RELEASE, plain .ko files with depmod's indexes
# The package is whatever linux-image-amd64 depends on today in that series: 6.1 is
# bookworm's own, 6.12 comes from bookworm-backports, 7 is what unstable has by now. Nothing of the machine's apt is changed
# and no root is needed; a suite the machine does not know is read through a private
# apt configuration made from the machine's own Debian mirror.
set -euo pipefail

series=${1:?usage: kernel.sh 6.1|6.12|7 [--refresh]}
case $series in
    6.1)  suite=bookworm ;;
    6.12) suite=bookworm-backports ;;
    7)    suite=unstable ;;
    *)    echo "kernel.sh: no such series: $series (there are 6.1, 6.12 and 7)" >&2; exit 64 ;;
esac
cache=${CTHELPERD_CACHE:-$HOME/.cache/cthelperd}
dir=$cache/kernel-$series
say() { printf 'kernel %s: %s\n' "$series" "$*" >&2; }

mkdir -p "$cache"
exec 9>"$cache/kernel-$series.lock"
flock 9
if [ -e "$dir/release" ] && [ "${2:-}" != --refresh ]; then
    echo "$dir"
    exit 0
fi
work=$(mktemp -d "$cache/kernel-$series.tmp.XXXXXX")
trap 'rm -rf "$work"' EXIT

# ---- which package ---------------------------------------------------------------------
APT=()   # options that turn an apt command into the private one; empty = the machine's own

image_package() {   # -> linux-image-6.1.0-NN-amd64, if these lists have one of our series
    apt-cache "${APT[@]}" show linux-image-amd64 2>/dev/null |
        sed -n 's/^Depends:.* \(linux-image-[^ ,]*\).*/\1/p' |
        grep -E "^linux-image-${series/./\\.}[.+-]" | sort -V | tail -n 1
}

use_private_lists() {
    local mirror keyring state=$cache/apt-$series
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(ORIGIN) $(LABEL)' 'Created-By: Packages' |
        awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
    if [ -z "$mirror" ]; then
        say "this machine's apt names no Debian mirror with fetched lists: run apt-get update first"
        exit 69
    fi
    keyring=/usr/share/keyrings/debian-archive-keyring.gpg
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
    echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main" >"$state/sources.list"
    APT=(-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
         -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache"
         -o Acquire::Languages=none)
    say "reading the package lists of $suite"
    apt-get -q "${APT[@]}" -o APT::Sandbox::User="$(id -un)" update >&2
}

parts() {   # $1, and since 7.x those of what it depends on that hold the kernel, its modules and the list of built-in ones
    local release=${1#linux-image-}
    echo "$1"
    apt-cache "${APT[@]}" show "$1" | sed -n 's/^Depends: //p' | tr ',' '\n' | awk '{ print $1 }' |
        { grep -Fx -e "linux-base-$release" -e "linux-binary-$release" -e "linux-modules-$release" || true; } | sort -u
}

fetch() {   # download $1 and its parts into the work folder
    say "downloading $1 (about 70 to 130 MB)"
    (cd "$work" && parts "$1" | xargs apt-get -q "${APT[@]}" -o APT::Sandbox::User="$(id -un)" download >&2)
}

package=$(image_package || true)
if [ -z "$package" ] || ! fetch "$package"; then
    use_private_lists
    package=$(image_package || true)
    [ -n "$package" ] || { say "no linux-image-amd64 of this series in $suite"; exit 69; }
    fetch "$package"
fi

# ---- unpack ----------------------------------------------------------------------------
say "unpacking $package"
for deb in "$work"/linux-*.deb; do
    dpkg -x "$deb" "$work/root"
    rm "$deb"
done
release=${package#linux-image-}
tree=$work/root
[ -d "$tree/lib/modules/$release" ] || tree=$work/root/usr
modules=$tree/lib/modules/$release
# A network test needs no graphics, sound or media: a fifth of the files is enough.
rm -rf "$modules"/kernel/sound "$modules"/kernel/drivers/{gpu,media,infiniband,staging,iio,input,hid,usb,mmc,scsi,ata,platform,thunderbolt,hwmon,mtd,comedi}
rm -rf "$modules"/kernel/drivers/net/{ethernet,wireless,usb,can,wwan}
packed=$(find "$modules" -name '*.ko.xz' | wc -l)
if [ "$packed" -gt 0 ]; then
    say "unpacking $packed compressed modules"
    find "$modules" -name '*.ko.xz' -print0 | xargs -0 -n 64 -P "$(nproc)" xz -d
fi

mkdir -p "$work/out/lib/modules"
cp "$(find "$work/root" -type f -name 'vmlinuz*' -print -quit)" "$work/out/vmlinuz"   # in /boot, since 7.x beside the modules
mv "$modules" "$work/out/lib/modules/"
ln -s "lib/modules/$release" "$work/out/modules"
PATH=$PATH:/usr/sbin:/sbin depmod -b "$work/out" "$release" 2> >(grep -v 'modules.builtin' >&2 || true)
echo "$release" >"$work/out/release"
rm -rf "$dir"
mv "$work/out" "$dir"
say "ready: $release ($(du -sh "$dir" | cut -f1))"
echo "$dir"
