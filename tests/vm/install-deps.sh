#!/bin/bash
# Install what the VM rung needs, with apt, without starting or enabling any service.
#
# As root, or with a sudo that asks nothing, it installs; otherwise it prints the one
# command that would and exits 69 (EX_UNAVAILABLE). With everything present it is a
# single dpkg-query. What would bring a mail system along is only unpacked, into target/vm/peers.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
peers=$here/../../target/vm/peers

PACKAGES=(
    qemu-system-x86 busybox-static kmod cpio xz-utils   # boot.sh, kernel.sh
    nftables iproute2 procps ethtool python3            # guest: topology
    curl lftp vsftpd python3-pyftpdlib                  # guest: FTP peers
    tftpd-hpa tftp-hpa avahi-daemon dnsmasq-base isc-dhcp-client wsdd2   # guest: datagram peers
    minissdpd miniupnpc isc-dhcp-server isc-dhcp-relay wide-dhcpv6-client
    rpcbind sane-utils                                  # guest: RPC and SANE peers
    conntrack conntrackd nfct netbase iptables          # guest: the baseline, what cthelperctl is compared with
    gcc libc6-dev                                       # bench.sh: load generator, bare queue loop
    libnetfilter-conntrack-dev ulogd2                   # events: a consumer in C, another to compare with
)
# Daemons among them that Debian would start and enable when it installs them.
SERVICES=(vsftpd conntrackd nftables tftpd-hpa avahi-daemon wsdd2 minissdpd isc-dhcp-server isc-dhcp-relay wide-dhcpv6-client rpcbind rpcbind.socket saned.socket
    ulogd2)
# Amanda depends on a mail system and on inetd, which no test needs.
UNPACKED=(amanda-common amanda-client amanda-server)

say() { printf 'install-deps: %s\n' "$*" >&2; }

unpack_peers() {
    local folder deb
    [ ! -e "$peers/complete" ] || return 0
    say "unpacking ${UNPACKED[*]} into target/vm/peers"
    folder=$(mktemp -d)
    (cd "$folder" && apt-get -q -o APT::Sandbox::User="$(id -un)" download "${UNPACKED[@]}" >&2) || {
        say "${UNPACKED[*]}: cannot be had; if the package lists are missing: apt-get update"; rm -rf "$folder"; return 1; }
    rm -rf "$peers"; mkdir -p "$peers"
    for deb in "$folder"/*.deb; do dpkg-deb -x "$deb" "$peers"; done
    rm -rf "$folder" "$peers/usr/share"
    touch "$peers/complete"
}

missing=()
for p in "${PACKAGES[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} = 0 ]; then unpack_peers; exit; fi

command="apt-get install -y --no-install-recommends ${missing[*]}"
if [ "$(id -u)" = 0 ]; then
    root=()
elif sudo -n true 2>/dev/null; then
    root=(sudo)
else
    say "these packages are missing and only root can install them; please run:"
    printf 'sudo %s\n' "$command"
    exit 69
fi

# policy-rc.d (exit 101 = "action forbidden") is Debian's own way to keep maintainer
# scripts from starting daemons. A policy that is already there is left in force.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee $policy >/dev/null
    "${root[@]}" chmod 755 $policy
    trap '"${root[@]}" rm -f $policy' EXIT
fi

# Who has enabled one of these already wants it. Some, such as rpcbind.socket, are not named as their package.
declare -A before
for s in "${SERVICES[@]}"; do before[$s]=$(systemctl is-enabled "$s" 2>/dev/null || true); done

apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0)
install() { "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2; }

say "installing: ${missing[*]}"
if ! apt-cache show "${missing[@]}" >/dev/null 2>&1; then
    say "package lists are missing or old: apt-get update"
    "${apt[@]}" update >&2 || say "apt-get update failed in part; going on with what there is"
fi
if ! install; then
    # Lists older than the mirror name versions that are gone: refresh once.
    say "refreshing the package lists and trying once more"
    "${apt[@]}" update >&2 || true
    install
fi

for s in "${SERVICES[@]}"; do
    [ "${before[$s]}" = enabled ] || "${root[@]}" systemctl disable --quiet "$s" 2>/dev/null || true
done
unpack_peers
say "done"
