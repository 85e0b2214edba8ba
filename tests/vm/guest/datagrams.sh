#!/bin/bash
# datagrams.sh [SOURCE...]: helpers of datagram protocols, served by the kernel, by conntrackd and by
# cthelperd in turn (kernel | conntrackd | ours; all three by default), behind rules that drop by default. The
# kernel has TFTP only; what is only configured (WS-Discovery, BJNP, NetBIOS names) is ours alone.
#
# TFTP through the router: {IPv4 IPv6} x {none snat dnat} x {get put} x {tftp-hpa curl}, each file
# compared byte by byte; under snat the client's port is translated, too. Then questions to many, asked
# by the router itself, whose answers must come in: mDNS (avahi answers; a second time with an avahi on
# the router, too), SLP, SSDP, DHCPv6 (dnsmasq answers dhclient).
# A line per case and a summary, as ftp-matrix.sh has them:
#   ours-datagrams 6.1 tftp-4-snat-put-curl ok
#   ours-datagrams 6.1: 34 of 34
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/ftp-matrix.sh"

PEER=$REPO/tests/vm/guest/datagram-peer.py
TFTP=/run/tftp
PEERS=()

declare -A PORT=([tftp]=69 [mdns]=5353 [slp]=427 [ssdp]=1900 [dhcpv6]=547 [wsd]=3702 [bjnp]=8612 [nbns]=137)

datagrams() {   # source
    local names helper
    good=0 total=0
    datagram_source $1 || { result "$1-datagrams" start "did not come up"; datagram_source_stop; return; }
    datagram_peers
    datagram_tftp $1
    if [ $1 != kernel ]; then
        datagram_questions $1
    fi
    datagram_peers_end
    datagram_trouble $1
    datagram_source_stop || result "$1-datagrams" stop "did not end in order"
    summary "$1-datagrams"
}

datagram_source() {
    SOURCE=$1 HELPER='' SOURCE_PID=''
    case $1 in
    kernel) modprobe -a nf_conntrack_tftp nf_nat_tftp ;;
    conntrackd)
        modprobe -a nfnetlink_cthelper nfnetlink_queue
        mkdir -p /etc/conntrackd
        {
            echo 'Helper { Setup yes'
            local queue=20 type
            for type in 'tftp inet' 'tftp inet6' 'mdns inet' 'mdns inet6' 'slp inet' 'slp inet6' 'ssdp inet' 'ssdp inet6' 'dhcpv6 inet6'; do
                echo "Type $type udp { QueueNum $queue
QueueLen 1024 }"
                queue=$((queue + 1))
            done
            printf '}\nGeneral {\nHashSize 8192\nHashLimit 65535\nSyslog no\nLogFile on\nLockFile /run/conntrackd.lock\nUNIX { Path /run/conntrackd.ctl }\n}\n'
        } >/etc/conntrackd/conntrackd.conf
        conntrackd -C /etc/conntrackd/conntrackd.conf >>"$VM_OUT/conntrackd.log" 2>&1 &
        SOURCE_PID=$!
        wait_for 10 queue_bound 28 ;;
    ours)
        # Five with a parser, and the three that are only configured.
        { printf '[helper.%s]\n' tftp mdns slp ssdp dhcpv6; cat "$REPO"/packaging/examples/{wsd,bjnp,netbios-ns}.toml; } >/run/datagrams.toml
        CTHELPERD_WHAT='--config /run/datagrams.toml' _start_ours ;;
    esac
}

datagram_source_stop() {
    local status=0
    source_stop || status=1
    modprobe -r nf_nat_tftp nf_conntrack_tftp 2>/dev/null
    return $status
}

# datagram_rules MODE HELPER: as topology_rules, for one helper on its port; questions may leave the router.
datagram_rules() {
    local mode=$1 helper=$2 port=${PORT[$2]} families=inet
    [ $helper = dhcpv6 ] && families=ip6
    [ $helper = nbns ] && families=ip
    topology_clear
    nft -f - <<NFT || return
table inet vm {
    ct helper h { type "$helper" protocol udp; l3proto $families; }
    chain attach_pre { type filter hook prerouting priority -150; udp dport $port ct helper set "h"; }
    chain attach_out { type filter hook output priority -150; udp dport $port ct helper set "h"; }
    chain allowed {
        ct state established,related accept
        ct state new udp dport $port accept
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
    topology_nat $mode "udp dport $port" fully-random
}

datagram_peers() {
    mkdir -p $TFTP
    head -c 20000 /dev/urandom >$TFTP/file
    chmod 777 $TFTP; chmod 644 $TFTP/file
    peer in.tftpd -L -c -u root -s $TFTP
    peer "$PEER" answer slp ssdp bjnp nbns eth0 10.0.2.2 fd00:2::2
    peer "$PEER" serve-xml 10.0.2.2 49152
    peer wsdd2 -w -u -i eth0
    mkdir -p /run/avahi-daemon
    avahi_conf server eth0 >/run/avahi-server.conf
    peer avahi-daemon -f /run/avahi-server.conf --no-drop-root --no-chroot --no-rlimits
    wait_for 20 datagram_listening
}
peer() { ip netns exec server "$@" >>"$VM_OUT/datagram-peers.log" 2>&1 & PEERS+=($!); }
datagram_listening() { [ "$(ip netns exec server ss -Hlun | grep -cE ':(69|427|1900|5353) ')" -ge 7 ]; }
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
    local nat family host client how why pids name
    for nat in none snat dnat; do
        datagram_rules $nat tftp || { result "$1-datagrams" "rules-$nat" "nft refused the rules"; continue; }
        for how in get put; do
            local names=() pids=()
            for family in 4 6; do
                for client in hpa curl; do
                    name=tftp-$family-$nat-$how-$client
                    tftp_transfer $client $how $family $(topology_target $nat $family) >/run/why.$name &
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

# tftp_transfer CLIENT get|put FAMILY HOST: what is wrong, on stdout.
tftp_transfer() {
    local name=up.$1.$3.$BASHPID host=$4 seconds=12 got=/run/tftp.$BASHPID
    [ $3 = 6 ] && host="[$4]"
    [ $SOURCE != conntrackd ] || seconds=4   # none of these came
    case $1-$2 in
    hpa-get)  ip netns exec client timeout $seconds tftp -$3 -m binary $4 -c get file $got ;;
    hpa-put)  ip netns exec client timeout $seconds tftp -$3 -m binary $4 -c put $TFTP/file $name ;;
    curl-get) ip netns exec client curl -g -sS -m $seconds -o $got "tftp://$host/file" ;;
    curl-put) ip netns exec client curl -g -sS -m $seconds -T $TFTP/file "tftp://$host/$name" ;;
    esac >$got.log 2>&1 || { echo "status $?: $(tail -n 1 $got.log)"; return; }
    [ $2 = get ] || got=$TFTP/$name
    cmp -s $got $TFTP/file || echo "the bytes differ ($(stat -c %s $got 2>/dev/null) of 20000)"
}

datagram_questions() {   # source
    local family
    ip route replace multicast 224.0.0.0/4 dev s0
    for family in 4 6; do
        question $1 mdns $family
        question $1 slp $family
        question $1 ssdp $family
        question $1 mdns $family -avahi-on-router
    done
    if [ $1 = ours ]; then
        for family in 4 6; do question $1 wsd $family; question $1 bjnp $family; done
        question $1 nbns 4 '' 137
    fi
    ssdp_location $1
    question_dhcpv6 $1
}

question() {   # source, kind, family, suffix, port to ask from: is it answered?
    local local_avahi=''
    datagram_rules none $2 || { result "$1-datagrams" "$2-$3$4" "nft refused the rules"; return; }
    if [ -n "$4" ]; then
        nft insert rule inet vm incoming udp dport 5353 accept   # its own port is open, as for any avahi
        avahi_conf router s0 >/run/avahi-router.conf
        # With a /run of its own: the server's avahi has its pid file there.
        unshare -m sh -c 'mount -t tmpfs none /run/avahi-daemon
            exec avahi-daemon -f /run/avahi-router.conf --no-drop-root --no-chroot --no-rlimits' >>"$VM_OUT/datagram-peers.log" 2>&1 &
        local_avahi=$!
        wait_for 10 eval 'ss -Hlun | grep -q :5353'
        sleep 1.5   # it announces itself first
    fi
    if "$PEER" ask $2 $3 s0 4 $5 >/run/answer 2>&1; then result "$1-datagrams" "$2-$3$4" ''
    else result "$1-datagrams" "$2-$3$4" "no answer came in $(tail -n 1 /run/answer)"; fi
    { echo "== $1 $2 $3 $4"; conntrack -L expect -f ipv$3 2>/dev/null; nft list chain inet vm incoming | grep counter; } >>"$VM_OUT/questions.log"
    if [ -n "$local_avahi" ]; then
        kill -0 $local_avahi 2>/dev/null || result "$1-datagrams" "$2-$3$4-runs" "the router's avahi has ended"
        kill $local_avahi; wait $local_avahi 2>/dev/null
    fi
}

# A control point follows the LOCATION of an answer: a connection out that no rule lets pass.
ssdp_location() {   # source
    local why=''
    datagram_rules none ssdp || { result "$1-datagrams" ssdp-location "nft refused the rules"; return; }
    "$PEER" ask ssdp 4 s0 5 >/run/answer 2>&1 || why='no answer came'
    [ -n "$why" ] || curl -sS -m 4 -o /run/root.xml http://10.0.2.2:49152/root.xml 2>/run/curl.log || why=$(tail -n 1 /run/curl.log)
    [ -n "$why" ] || grep -q '<root' /run/root.xml || why='not the description'
    result "$1-datagrams" ssdp-location "$why"
}

question_dhcpv6() {   # source
    local why='' pid
    datagram_rules none dhcpv6 || { result "$1-datagrams" dhcpv6 "nft refused the rules"; return; }
    ip netns exec server dnsmasq -k -C /dev/null --port=0 --interface=eth0 --dhcp-range=fd00:2::1000,fd00:2::1fff,64,1h \
        --dhcp-leasefile=/run/dnsmasq.leases --log-dhcp --log-facility="$VM_OUT/dnsmasq.log" --user=root >>"$VM_OUT/datagram-peers.log" 2>&1 &
    pid=$!
    wait_for 10 eval 'ip netns exec server ss -Hlun | grep -q ":547 "'
    rm -f /run/dhclient6.leases
    timeout 12 dhclient -6 -1 -d -sf /bin/true -lf /run/dhclient6.leases -pf /run/dhclient6.pid s0 >/run/dhclient.log 2>&1
    grep -q 'iaaddr fd00:2::1' /run/dhclient6.leases 2>/dev/null || why="no lease: $(tail -n 1 /run/dhclient.log)"
    cat /run/dhclient.log >>"$VM_OUT/questions.log"
    conntrack -L expect >>"$VM_OUT/questions.log" 2>/dev/null
    kill $pid; wait $pid 2>/dev/null
    result "$1-datagrams" dhcpv6 "$why"
}

# Refusals and losses are none of ours in honest traffic.
datagram_trouble() {
    [ $1 = ours ] || return
    ours_status >"$VM_OUT/datagrams-status.json"
    local why
    why=$(/usr/bin/python3 -c '
import json, sys
for h in json.load(open(sys.argv[1]))["helpers"]:
    bad = {**h["refused"], **{k: v for k, v in h.get("trouble", {}).items() if k != "expectation-unseen"}, **h.get("malformed", {})}
    if bad: print(h["name"], bad)' "$VM_OUT/datagrams-status.json" | tr '\n' ' ')
    result ours-datagrams no-refusals "$why"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    [ $# -gt 0 ] || set -- kernel conntrackd ours
    topology_build
    for source in "$@"; do datagrams $source; done
    exit 0
fi
