#!/bin/bash
# timeouts.sh [SOURCE...]: how long a master is kept after what it announced, by the kernel, conntrackd and
# cthelperd in turn (default: all three); conntrack's figures, seconds. The kernel has no DHCPv6.
#   timeouts 6.1 ours amanda-reply ok 300
#   timeouts 6.1 ours amanda-next ok 30      the next packet sets what UDP has
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/ftp-matrix.sh"

timeouts_source() {
    SOURCE=$1
    case $1 in
    kernel) modprobe -a nf_conntrack_amanda nf_nat_amanda; SOURCE_PID='' ;;
    conntrackd)
        modprobe -a nfnetlink_cthelper nfnetlink_queue
        printf 'Helper {\nSetup yes\nType amanda inet udp { QueueNum 20\nQueueLen 1024 }\nType dhcpv6 inet6 udp { QueueNum 21\nQueueLen 1024 }\n}\nGeneral {\nHashSize 8192\nHashLimit 65535\nSyslog no\nLogFile on\nLockFile /run/conntrackd.lock\nUNIX { Path /run/conntrackd.ctl }\n}\n' >/run/timeouts.conf
        conntrackd -C /run/timeouts.conf >>"$VM_OUT/conntrackd.log" 2>&1 &
        SOURCE_PID=$!
        wait_for 10 queue_bound 21 ;;
    ours) CTHELPERD_WHAT='--helper amanda --helper dhcpv6' source_start ours ;;
    esac
}

timeouts_rules() {
    local dhcpv6=''
    [ $SOURCE = kernel ] || dhcpv6='chain out { type filter hook output priority -150; udp dport 547 ct helper set "d"; }'
    topology_clear
    {
        echo 'table inet vm { ct helper a { type "amanda" protocol udp; l3proto ip; }'
        [ -z "$dhcpv6" ] || echo 'ct helper d { type "dhcpv6" protocol udp; l3proto ip6; }'
        echo "chain pre { type filter hook prerouting priority -150; udp dport 10080 ct helper set \"a\"; }"
        echo "$dhcpv6"; echo "}"
    } | nft -f -
}

left() { conntrack -L -f $1 -p udp --orig-port-dst $2 2>/dev/null | awk '{ print $3; exit }'; }

# SOURCE CASE SECONDS WANTED: within a few seconds of it, if that is required.
told() {
    local why=''
    [ -n "$3" ] || why='no such connection'
    [ -n "$why" ] || [ $1 != ours ] || { [ "$3" -le $4 ] && [ "$3" -gt $(($4 - 8)) ]; } || why="$3 s, wanted $4"
    result timeouts "$1-$2" "$why"
    echo "timeouts $VM_KERNEL $1-$2: $3 s"
}

timeouts() {
    timeouts_source $1 || { result timeouts $1 'did not come up'; source_stop; return; }
    timeouts_rules || { result timeouts $1 'nft refused the rules'; source_stop; return; }
    ip netns exec server /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("10.0.2.2", 10080))
asked, peer = s.recvfrom(2000)
s.sendto(b"Amanda 2.6 REP HANDLE 000-00010E5C SEQ 1\nCONNECT DATA 5000 MESG 5001 INDEX -1\n", peer)
s.recvfrom(2000)' & local peer=$!
    wait_for 10 eval 'ip netns exec server ss -Hlun | grep -q :10080'
    ip netns exec client /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(("10.0.2.2", 10080))
s.send(b"Amanda 2.6 REQ HANDLE 000-00010E5C SEQ 1\nSERVICE sendbackup\n"); s.recv(2000)
print("replied", flush=True); sys.stdin.readline(); s.send(b"Amanda 2.6 ACK HANDLE 000-00010E5C SEQ 1\n")' </run/go >/run/replied & local client=$!
    exec 9>/run/go
    wait_for 10 grep -q replied /run/replied
    told $1 amanda-reply "$(left ipv4 10080)" 300
    echo >&9
    wait $client $peer 2>/dev/null
    told $1 amanda-next "$(left ipv4 10080)" 30
    exec 9>&-
    if [ $1 != kernel ]; then
        /usr/bin/python3 -c '
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(("::", 546))
s.sendto(b"\x01abc\x00\x01\x00\x0a\x00\x03\x00\x01\x02\x00\x00\x00\x00\x01\x00\x08\x00\x02\x00\x00", ("ff02::1:2", 547, 0, socket.if_nametoindex("s0")))'
        told $1 dhcpv6-solicit "$(left ipv6 547)" 120
    fi
    source_stop || result timeouts $1 'did not end in order'
    modprobe -r nf_nat_amanda nf_conntrack_amanda 2>/dev/null
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    [ $# -gt 0 ] || set -- kernel conntrackd ours
    good=0 total=0
    mkfifo /run/go
    topology_build
    for source in "$@"; do timeouts $source; done
    summary timeouts
    exit 0
fi
