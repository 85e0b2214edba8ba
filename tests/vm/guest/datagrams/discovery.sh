# Questions to many, asked by the router itself, whose answers must come in; for sourcing by datagrams.sh.
# mDNS is a legacy query (RFC 6762 §6.7) that avahi answers; a second time with an avahi on the router, too, which answers from the
# router's own address before the other does. WS-Discovery is answered by wsdd2; SLP, SSDP, BJNP and NetBIOS names by peer.py.

discovery() {   # source
    local family
    ip route replace multicast 224.0.0.0/4 dev s0
    for family in 4 6; do
        if [ $1 != kernel ]; then
            question $1 mdns $family
            question $1 slp $family
            question $1 ssdp $family
            question $1 mdns $family -avahi-on-router
        fi
        if [ $1 = ours ]; then question $1 wsd $family; question $1 bjnp $family; fi
    done
    [ $1 = conntrackd ] || question $1 nbns 4 '' 137
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
    conntrack -E expect >/run/expect-events 2>/dev/null &
    local events=$!
    if "$PEER" ask $2 $3 s0 4 $5 >/run/answer 2>&1; then result "$1-datagrams" "$2-$3$4" ''
    else result "$1-datagrams" "$2-$3$4" "no answer came in $(tail -n 1 /run/answer)"; fi
    kill $events; wait $events 2>/dev/null
    { echo "== $1 $2 $3 $4"; cat /run/expect-events; conntrack -L expect -f ipv$3 2>/dev/null; nft list chain inet vm incoming | grep counter; } >>"$VM_OUT/questions.log"
    if [ -n "$local_avahi" ]; then
        kill -0 $local_avahi 2>/dev/null || result "$1-datagrams" "$2-$3$4-runs" "the router's avahi has ended"
        kill $local_avahi; wait $local_avahi 2>/dev/null
    fi
}
