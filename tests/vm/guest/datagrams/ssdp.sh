# SSDP with real peers, and what comes after an answer; for sourcing by datagrams.sh.
#   upnpc (miniupnpc) on the router finds what minissdpd has, over IPv6 what peer.py answers, and fetches it: an answer's LOCATION
#   is a connection out that no rule lets pass. So does curl, over IPv6 in the link's scope and in the site's, and with
#   `loose` outside both. A client subscribes to a device's events through the router, with and without
#   NAT, and the device connects to the place that the subscription named.

SSDP_PEER=$REPO/tests/vm/guest/datagrams/ssdp.py
DEVICE_PORT=49152

ssdp_peers() {
    peer "$SSDP_PEER" device $DEVICE_PORT
    peer minissdpd -d -i eth0 -s /run/minissdpd-server.sock -p /run/minissdpd-server.pid
    "$SSDP_PEER" register /run/minissdpd-server.sock http://10.0.2.2:$DEVICE_PORT/minissdpd.xml
}

ssdp() {   # source
    local nat family
    ssdp_location $1 4 ssdp; ssdp_location $1 6 ssdp; ssdp_location $1 6 ssdp-site
    ssdp_upnpc $1 4; ssdp_upnpc $1 6
    [ $1 != ours ] || ssdp_loose
    for nat in none snat dnat; do
        datagram_rules $nat ssdp tcp $DEVICE_PORT || { result "$1-datagrams" "ssdp-event-rules-$nat" "nft refused the rules"; continue; }
        for family in 4 6; do ssdp_event $1 $nat $family; done
    done
}

ssdp_location() {   # source, family, kind of question
    local why='' url
    datagram_rules none ssdp || { result "$1-datagrams" $3-location-$2 "nft refused the rules"; return; }
    "$PEER" ask $3 $2 s0 5 >/run/answer 2>&1 || why='no answer came'
    url=$(awk '{ print $3 }' /run/answer | sed 's/\(\[fe80[^]]*\)\]/\1%25s0]/')
    [ -n "$why" ] || curl -g -sS -m 4 -o /run/root.xml "$url" 2>/run/curl.log || why=$(tail -n 1 /run/curl.log)
    [ -n "$why" ] || grep -q '<root' /run/root.xml || why="not the description: $url"
    result "$1-datagrams" $3-location-$2 "$why"
}

# A device that is asked in the link's scope and names a place outside it.
ssdp_loose() {
    sed -i 's/^\[helper.ssdp\]$/&\nloose = true/' /run/datagrams.toml
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN reload >/run/reload.log 2>&1 || { result ours-datagrams ssdp-global-location-6 "$(tail -n 1 /run/reload.log)"; return; }
    ssdp_location ours 6 ssdp-global
}

ssdp_upnpc() {   # source, family
    local why='' six='' place='10\.0\.2\.2:49152/minissdpd\.xml'
    if [ $2 = 6 ]; then six=-6 place='\[.*\]:49152/root\.xml'; fi
    datagram_rules none ssdp || { result "$1-datagrams" ssdp-upnpc-$2 "nft refused the rules"; return; }
    timeout 20 upnpc $six -m s0 -l >/run/upnpc.log 2>&1
    grep -q "desc: http://$place" /run/upnpc.log || why="not found: $(tail -n 1 /run/upnpc.log)"
    ! grep 'timed out' /run/upnpc.log || why='found, but not fetched'
    { echo "== $1 upnpc $2"; cat /run/upnpc.log; } >>"$VM_OUT/questions.log"
    result "$1-datagrams" ssdp-upnpc-$2 "$why"
}

ssdp_event() {   # source, nat, family
    local own=10.0.1.2 why
    [ $3 = 4 ] || own=fd00:1::2
    why=$(ip netns exec client "$SSDP_PEER" subscribe $(topology_target $2 $3) $DEVICE_PORT $own 4 2>&1 | tail -n 1)
    result "$1-datagrams" ssdp-event-$3-$2 "$why"
}
