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

# matrix LABEL CLIENT: the transfers, with the source and the server already there.
matrix() {
    local label=$1 client=$2 nat family case host why cases seconds=20
    # conntrackd is expected to fail two thirds of them: do not wait long for that.
    [ "$SOURCE" = conntrackd ] && seconds=5
    [ "$SOURCE" = kernel ] && seconds=10
    good=0 total=0
    for nat in none snat dnat; do
        topology_rules $nat "$HELPER" || { result "$label" "rules-$nat" "nft refused the rules"; continue; }
        for family in 4 6; do
            cases='epsv eprt'
            [ $family = 6 ] || cases='epsv pasv eprt port'
            [ $family$client = 4lftp ] && cases='epsv pasv port'
            host=$(topology_target $nat $family)
            for case in $cases; do
                echo "==== $label $client ipv$family-$case-$nat" >>"$VM_OUT/transfers.log"
                why=$(transfer $client client $host $case $seconds) && why=''
                result "$label" "ipv$family-$case-$nat" "$why"
            done
        done
    done
    summary "$label"
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
