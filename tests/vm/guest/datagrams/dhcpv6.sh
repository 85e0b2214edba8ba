# DHCPv6 with real peers; for sourcing by datagrams.sh. The router asks as a client (dhclient of dnsmasq, dhcp6c of ISC's dhcpd), and relays
# for the client (dhclient, dhcrelay, dhcpd): the relay's question goes to the group of servers, and is answered to the relay's own port.

LEASES=/run/dhcpv6-leases

dhcpv6() {   # source
    dhcpv6_case $1 dnsmasq dhclient dhcpv6_by_dhclient
    dhcpv6_case $1 dhcpd dhcp6c dhcpv6_by_dhcp6c
    dhcpv6_case $1 dhcpd relay dhcpv6_by_relay
}

# dhcpv6_case SOURCE SERVER CLIENT COMMAND: COMMAND says what is wrong, on stdout.
dhcpv6_case() {
    local why pid
    datagram_rules none dhcpv6 || { result "$1-datagrams" dhcpv6-$2-$3 "nft refused the rules"; return; }
    rm -f $LEASES*; touch $LEASES.dhcpd
    dhcpv6_$2 >>"$VM_OUT/datagram-peers.log" 2>&1 &
    pid=$!
    wait_for 10 eval 'ip netns exec server ss -Hlun | grep -q ":547 "'
    why=$($4)
    { echo "== $1 dhcpv6 $2 $3"; cat /run/dhcpv6.log; conntrack -L expect -f ipv6 2>/dev/null; } >>"$VM_OUT/questions.log"
    kill $pid; wait $pid 2>/dev/null
    result "$1-datagrams" dhcpv6-$2-$3 "$why"
}

dhcpv6_dnsmasq() {
    exec ip netns exec server dnsmasq -k -C /dev/null --port=0 --interface=eth0 --dhcp-range=fd00:2::1000,fd00:2::1fff,64,1h \
        --dhcp-leasefile=$LEASES.dnsmasq --log-dhcp --log-facility="$VM_OUT/dnsmasq.log" --user=root
}

dhcpv6_dhcpd() {
    # Its own link, and the one that a relay says it speaks for. Preference 255: nobody waits for a better server (RFC 8415 §18.2.1).
    cat >/run/dhcpd6.conf <<'CONF'
option dhcp6.preference 255;
subnet6 fd00:1::/64 { range6 fd00:1::1000 fd00:1::1fff; }
subnet6 fd00:2::/64 { range6 fd00:2::1000 fd00:2::1fff; }
CONF
    exec ip netns exec server dhcpd -6 -f -cf /run/dhcpd6.conf -lf $LEASES.dhcpd --no-pid eth0
}

# dhcpv6_dhclient INTERFACE PREFIX [COMMAND...]: a lease of an address that begins so; COMMAND runs it elsewhere.
dhcpv6_dhclient() {
    local interface=$1 prefix=$2; shift 2
    timeout 12 "$@" dhclient -6 -1 -d -sf /bin/true -lf $LEASES.dhclient -pf /run/dhclient6.pid $interface >/run/dhcpv6.log 2>&1
    grep -q "iaaddr $prefix" $LEASES.dhclient 2>/dev/null || echo "no lease: $(tail -n 1 /run/dhcpv6.log)"
}

dhcpv6_by_dhclient() { dhcpv6_dhclient s0 fd00:2::1; }

# It keeps no leases: the interface has the address, for as long as it runs.
dhcpv6_by_dhcp6c() {
    local pid
    mkdir -p /var/lib/dhcpv6
    printf 'interface s0 { send ia-na 1; };\nid-assoc na 1 { };\n' >/run/dhcp6c.conf
    dhcp6c -D -f -c /run/dhcp6c.conf -p /run/dhcp6c.pid s0 >/run/dhcpv6.log 2>&1 &
    pid=$!
    wait_for 12 eval 'ip -6 addr show dev s0 | grep -q "inet6 fd00:2::1[0-9a-f]\{3\}/"' || echo "no address: $(tail -n 1 /run/dhcpv6.log)"
    kill $pid; wait $pid 2>/dev/null
    ip -6 addr show dev s0 | grep -o 'fd00:2::1[0-9a-f]\{3\}/[0-9]*' | xargs -r -n 1 ip addr del dev s0
}

dhcpv6_by_relay() {
    local pid
    nft insert rule inet vm incoming iifname c0 udp dport 547 accept   # the relay's own service
    dhcrelay -6 -d --no-pid -l c0 -u s0 >>"$VM_OUT/datagram-peers.log" 2>&1 &
    pid=$!
    wait_for 10 eval 'ss -Hlun | grep -q ":547 "'
    dhcpv6_dhclient eth0 fd00:1::1 ip netns exec client
    kill $pid; wait $pid 2>/dev/null
}
