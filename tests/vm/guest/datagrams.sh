#!/bin/bash
# datagrams.sh [SOURCE...]: helpers of datagram protocols, served by the kernel, by conntrackd and by
# cthelperd in turn (kernel | conntrackd | ours; all three by default), behind rules that drop by default. The
# kernel has TFTP and NetBIOS names only; what is only configured (WS-Discovery, BJNP, NetBIOS names) conntrackd has not.
#
# TFTP through the router: {IPv4 IPv6} x {none snat dnat} x {get put} x {tftp-hpa curl}, each file
# compared byte by byte; under snat the client's port is translated, too. Then datagrams/discovery.sh, ssdp.sh and dhcpv6.sh.
# A line per case and a summary, as ftp-matrix.sh has them:
#   ours-datagrams 6.1 tftp-4-snat-put-curl ok
#   ours-datagrams 6.1: 34 of 34
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/ftp-matrix.sh"

. "$REPO/tests/vm/guest/datagrams/discovery.sh"
. "$REPO/tests/vm/guest/datagrams/ssdp.sh"
. "$REPO/tests/vm/guest/datagrams/dhcpv6.sh"

PEER=$REPO/tests/vm/guest/datagrams/peer.py
TFTP=/run/tftp
PEERS=()

declare -A PORT=([tftp]=69 [mdns]=5353 [slp]=427 [ssdp]=1900 [dhcpv6]=547 [wsd]=3702 [bjnp]=8612 [nbns]=137)

datagrams() {   # source
    local names helper
    good=0 total=0
    datagram_source $1 || { result "$1-datagrams" start "did not come up"; datagram_source_stop; return; }
    datagram_peers
    datagram_tftp $1
    discovery $1
    if [ $1 != kernel ]; then
        ssdp $1
        dhcpv6 $1
    fi
    datagram_peers_end
    datagram_trouble $1
    datagram_source_stop || result "$1-datagrams" stop "did not end in order"
    summary "$1-datagrams"
}

datagram_source() {
    SOURCE=$1 HELPER='' SOURCE_PID=''
    case $1 in
    kernel) modprobe -a nf_conntrack_tftp nf_nat_tftp nf_conntrack_netbios_ns ;;
    conntrackd)
        modprobe -a nfnetlink_cthelper nfnetlink_queue
        mkdir -p /etc/conntrackd
        {
            echo 'Helper { Setup yes'
            local queue=20 type
            for type in {tftp,mdns,slp,ssdp}\ inet{,6}\ udp 'dhcpv6 inet6 udp' 'ssdp inet tcp' 'ssdp inet6 tcp'; do
                printf 'Type %s { QueueNum %s\nQueueLen 1024 }\n' "$type" $queue
                queue=$((queue + 1))
            done
            printf '}\nGeneral {\nHashSize 8192\nHashLimit 65535\nSyslog no\nLogFile on\nLockFile /run/conntrackd.lock\nUNIX { Path /run/conntrackd.ctl }\n}\n'
        } >/etc/conntrackd/conntrackd.conf
        conntrackd -C /etc/conntrackd/conntrackd.conf >>"$VM_OUT/conntrackd.log" 2>&1 &
        SOURCE_PID=$!
        wait_for 10 queue_bound 30 ;;
    ours)
        # Five with a parser, and the three that are only configured.
        { printf '[helper.%s]\n' tftp mdns slp ssdp dhcpv6; cat "$REPO"/packaging/examples/{wsd,bjnp,netbios-ns}.toml; } >/run/datagrams.toml
        CTHELPERD_WHAT='--config /run/datagrams.toml' _start_ours ;;
    esac
}

datagram_source_stop() {
    local status=0
    source_stop || status=1
    modprobe -r nf_nat_tftp nf_conntrack_tftp nf_conntrack_netbios_ns 2>/dev/null
    return $status
}

# datagram_rules MODE HELPER [L4 PORT]: as topology_rules, for one helper on its port; questions may leave the router.
datagram_rules() {
    local mode=$1 helper=$2 l4=${3:-udp} port=${4:-${PORT[$2]}} families=inet
    [ $helper = dhcpv6 ] && families=ip6
    [ $helper = nbns ] && families=ip
    [ $SOURCE-$helper != kernel-nbns ] || helper=netbios-ns
    topology_clear
    nft -f - <<NFT || return
table inet vm {
    ct helper h { type "$helper" protocol $l4; l3proto $families; }
    chain attach_pre { type filter hook prerouting priority -150; $l4 dport $port ct helper set "h"; }
    chain attach_out { type filter hook output priority -150; $l4 dport $port ct helper set "h"; }
    chain allowed {
        ct state established,related accept
        ct state new $l4 dport $port accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert, mld-listener-report, mld2-listener-report } accept
        meta l4proto igmp accept
    }
    chain forwarded { type filter hook forward priority 0; policy drop; jump allowed; }
    chain incoming  { type filter hook input priority 0; policy drop; ct state established,related accept
                      icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                      iifname "lo" accept; counter comment "dropped"; }
    chain outgoing  { type filter hook output priority 0; policy drop; jump allowed; }
}
NFT
    # Ports are translated, too.
    topology_nat $mode "$l4 dport $port" fully-random
}

datagram_peers() {
    mkdir -p $TFTP
    head -c 20000 /dev/urandom >$TFTP/file
    chmod 777 $TFTP; chmod 644 $TFTP/file
    peer in.tftpd -L -c -u root -s $TFTP
    peer "$PEER" answer slp ssdp bjnp nbns eth0 10.0.2.2 fd00:2::2
    ssdp_peers
    peer wsdd2 -w -u -i eth0
    mkdir -p /run/avahi-daemon
    avahi_conf server eth0 >/run/avahi-server.conf
    peer avahi-daemon -f /run/avahi-server.conf --no-drop-root --no-chroot --no-rlimits
    wait_for 20 datagram_listening
}
peer() { ip netns exec server "$@" >>"$VM_OUT/datagram-peers.log" 2>&1 & PEERS+=($!); }
datagram_listening() { [ "$(ip netns exec server ss -Hlun | grep -cE ':(69|427|1900|5353) ')" -ge 8 ]; }
datagram_peers_end() {
    kill "${PEERS[@]}" 2>/dev/null
    ip netns pids server | xargs -r kill 2>/dev/null
    wait "${PEERS[@]}" 2>/dev/null
    PEERS=()
}

avahi_conf() {   # host name, interface
    printf '[server]\nhost-name=%s\nallow-interfaces=%s\nuse-ipv4=yes\nuse-ipv6=yes\nenable-dbus=no\n[publish]\npublish-workstation=no\n' $1 $2
}

datagram_tftp() {   # source
    local nat family client how pids name seconds
    for nat in none snat dnat; do
        seconds=''
        [ $1-$nat = conntrackd-none ] || [ $1 != conntrackd ] || seconds=4   # it translates none
        datagram_rules $nat tftp || { result "$1-datagrams" "rules-$nat" "nft refused the rules"; continue; }
        for how in get put; do
            local names=() pids=()
            for family in 4 6; do
                for client in hpa curl; do
                    name=tftp-$family-$nat-$how-$client
                    tftp_transfer $client $how $family $(topology_target $nat $family) $seconds >/run/why.$name &
                    names+=($name) pids+=($!)
                done
            done
            for name in "${names[@]}"; do
                wait ${pids[0]}; pids=("${pids[@]:1}")
                result "$1-datagrams" $name "$(</run/why.$name)"
            done
        done
    done
}

# tftp_transfer CLIENT get|put FAMILY HOST [SECONDS]: what is wrong, on stdout.
tftp_transfer() {
    local name=up.$1.$3.$BASHPID host=$4 seconds=${5:-12} got=/run/tftp.$BASHPID
    [ $3 = 6 ] && host="[$4]"
    case $1-$2 in
    hpa-get)  ip netns exec client timeout $seconds tftp -$3 -m binary $4 -c get file $got ;;
    hpa-put)  ip netns exec client timeout $seconds tftp -$3 -m binary $4 -c put $TFTP/file $name ;;
    curl-get) ip netns exec client curl -g -sS -m $seconds -o $got "tftp://$host/file" ;;
    curl-put) ip netns exec client curl -g -sS -m $seconds -T $TFTP/file "tftp://$host/$name" ;;
    esac >$got.log 2>&1 || { echo "status $?: $(tail -n 1 $got.log)"; return; }
    [ $2 = get ] || got=$TFTP/$name
    cmp -s $got $TFTP/file || echo "the bytes differ ($(stat -c %s $got 2>/dev/null) of 20000)"
}

# Refusals and losses are none of ours in honest traffic. What an announcement over IPv6 costs that NAT makes longer or shorter is known:
# SPECIFICATION.md, "Announced connections with a helper".
datagram_trouble() {
    [ $1 = ours ] || return
    ours_status >"$VM_OUT/datagrams-status.json"
    local why
    why=$(/usr/bin/python3 -c '
import json, sys
for h in json.load(open(sys.argv[1]))["helpers"]:
    bad = {**h["refused"], **{k: v for k, v in h.get("trouble", {}).items() if k not in ("expectation-unseen", "helper-unassigned")}, **h.get("malformed", {})}
    if bad: print(h["name"], bad)' "$VM_OUT/datagrams-status.json" | tr '\n' ' ')
    result ours-datagrams no-refusals "$why"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    [ $# -gt 0 ] || set -- kernel conntrackd ours
    topology_build
    for source in "$@"; do datagrams $source; done
    exit 0
fi
