#!/bin/bash
# ftp-matrix.sh kernel|conntrackd|ours [SERVER [CLIENT]]: the FTP matrix with one source of the helper.
#
# {IPv4: EPSV PASV EPRT PORT; IPv6: EPSV EPRT} x {none, snat, dnat} = 18 downloads of 200 kB
# through the router, each compared byte by byte. A line per transfer and a summary:
#   ours 6.1 ipv4-pasv-snat ok
#   ours 6.1: 18 of 18
# SERVER: pyftpdlib (default) or vsftpd; CLIENT: curl (default) or lftp (which has no EPRT over
# IPv4: 15 cases). Exit 0 if all of them passed. Sourced, it only defines `matrix`.
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/peers.sh"

# result LABEL CASE REASON: one line on stdout and in VM_OUT/results; counts.
result() {
    local line="$1 $VM_KERNEL $2 ok"
    total=$((total + 1))
    if [ -z "$3" ]; then good=$((good + 1)); else line="$1 $VM_KERNEL $2 FAIL ($3)"; fi
    echo "$line" | tee -a "$VM_OUT/results"
}
summary() { printf '%s %s: %s of %s\n' "$1" "$VM_KERNEL" $good $total | tee -a "$VM_OUT/results"; }

# cases LABEL SUFFIX CLIENT NETNS HOST4 HOST6: the six (with lftp five) transfers to one server,
# all at once (two thirds of a baseline's time would be waiting for transfers that never come).
cases() {
    local label=$1 suffix=$2 client=$3 netns=$4 pid name seconds=20 names=() pids=()
    case $SOURCE in kernel) seconds=10 ;; conntrackd) seconds=6 ;; esac   # some of these never come
    local all='4-epsv 4-pasv 4-eprt 4-port 6-epsv 6-eprt'
    [ $client = lftp ] && all='4-epsv 4-pasv 4-port 6-epsv 6-eprt'
    for name in $all; do
        local host=$5
        [ ${name%-*} = 6 ] && host=$6
        transfer $client $netns $host ${name#*-} $seconds >/run/why.$name &
        names+=($name) pids+=($!)
    done
    for name in "${names[@]}"; do
        pid=${pids[0]}; pids=("${pids[@]:1}")
        wait $pid && : >/run/why.$name
        result "$label" "ipv$name$suffix" "$(</run/why.$name)"
    done
}

# matrix LABEL CLIENT: the transfers, with the source and the server already there.
matrix() {
    local nat
    good=0 total=0
    for nat in none snat dnat; do
        topology_rules $nat "$HELPER" || { result "$1" "rules-$nat" "nft refused the rules"; continue; }
        cases "$1" "-$nat" $2 client $(topology_target $nat 4) $(topology_target $nat 6)
    done
    summary "$1"
    [ $good -eq $total ]
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    topology_build
    server_start "${2:-pyftpdlib}" || exit
    if ! source_start "$1"; then
        echo "$1 did not come up; see $VM_OUT" >&2; tail -n 5 "$VM_OUT"/c*.log >&2; exit 1
    fi
    status=0
    matrix "$1" "${3:-curl}" || status=1
    source_stop
    server_stop
    exit $status
fi
