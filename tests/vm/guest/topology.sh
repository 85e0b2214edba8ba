# Client - router - server, for sourcing. The router is the guest's first network namespace (the
# helper registry is global, but queues are per namespace: whoever serves runs here).
#
#   client 10.0.1.2  fd00:1::2   --c0-- 10.0.1.254 fd00:1::fe  router
#   server 10.0.2.2  fd00:2::2   --s0-- 10.0.2.254 fd00:2::fe  router
# The router's addresses are longer than the hosts': a translated announcement changes its length.
#
# NAT modes: none | snat (the client hides behind the router's server-side address)
#                 | dnat (the client speaks to the router's client-side address)
# Under snat the server has no route to the client, under dnat the client none to the server: an
# announcement that was not translated leads nowhere.
# The router drops everything by default in forward, input and output. Allowed are new
# connections to tcp/21, what is established, and what a helper made related.

topology_build() {
    modprobe -a veth nf_tables nft_ct nft_nat nft_masq nft_reject nf_nat nf_conntrack_netlink nfnetlink_queue
    local n
    for n in client server; do ip netns add $n; done
    ip link add c0 type veth peer name eth0 netns client
    ip link add s0 type veth peer name eth0 netns server
    _side client c0 1; _side server s0 2
    sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.ip_nonlocal_bind=0
    # Announced ports are to be used at once; no checksum offload, as on real wires.
    ethtool -K c0 tx off >/dev/null 2>&1; ethtool -K s0 tx off >/dev/null 2>&1
}

_side() {   # netns, router's interface, number
    ip addr add 10.0.$3.254/24 brd + dev $2; ip addr add fd00:$3::fe/64 dev $2 nodad; ip link set $2 up
    ip -n $1 addr add 10.0.$3.2/24 brd + dev eth0; ip -n $1 addr add fd00:$3::2/64 dev eth0 nodad
    ip -n $1 link set lo up; ip -n $1 link set eth0 up
    ip -n $1 route add default via 10.0.$3.254; ip -n $1 -6 route add default via fd00:$3::fe
    ip netns exec $1 ethtool -K eth0 tx off gso off tso off >/dev/null 2>&1
}

# topology_rules MODE HELPER: MODE none|snat|dnat; HELPER = the registered name, or "" for none.
# The helper must be registered by now. Old connections and expectations are forgotten.
topology_rules() {
    local mode=$1 helper=$2 object='' attach=''
    if [ -n "$helper" ]; then
        object="ct helper h { type \"$helper\" protocol tcp; l3proto inet; }"
        attach='tcp dport 21 ct helper set "h"'
    fi
    topology_clear
    nft -f - <<NFT || return
table inet vm {
    $object
    chain attach_pre { type filter hook prerouting priority -150; $attach; }
    chain attach_out { type filter hook output priority -150; $attach; }
    chain allowed {
        ct state established,related accept
        ct state new tcp dport 21 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
    }
    chain forwarded { type filter hook forward priority 0; policy drop; jump allowed; }
    chain incoming  { type filter hook input priority 0; policy drop; jump allowed; }
    chain outgoing  { type filter hook output priority 0; policy drop; jump allowed; }
}
NFT
    topology_nat $mode 'tcp dport 21'
}

# topology_nat MODE MATCH [FLAGS]: MATCH says what dnat sends on to the server, FLAGS are those of masquerade.
topology_nat() {
    case $1 in
    snat)
        nft -f - <<NFT || return
table inet vm_nat {
  chain post {
    type nat hook postrouting priority 100
    ip saddr 10.0.1.0/24 oifname "s0" masquerade ${3:-}
    ip6 saddr fd00:1::/64 oifname "s0" masquerade ${3:-}
  }
}
NFT
        ip -n server route add blackhole 10.0.1.0/24; ip -n server -6 route add blackhole fd00:1::/64 ;;
    dnat)
        nft -f - <<NFT || return
table inet vm_nat {
  chain pre {
    type nat hook prerouting priority -100
    iifname "c0" $2 ip daddr 10.0.1.254 dnat ip to 10.0.2.2
    iifname "c0" $2 ip6 daddr fd00:1::fe dnat ip6 to fd00:2::2
  }
}
NFT
        ip -n client route add blackhole 10.0.2.0/24; ip -n client -6 route add blackhole fd00:2::/64 ;;
    esac
}

topology_clear() {
    nft flush ruleset
    ip -n server route del blackhole 10.0.1.0/24 2>/dev/null
    ip -n server -6 route del blackhole fd00:1::/64 2>/dev/null
    ip -n client route del blackhole 10.0.2.0/24 2>/dev/null
    ip -n client -6 route del blackhole fd00:2::/64 2>/dev/null
    conntrack -F >/dev/null 2>&1; conntrack -F expect >/dev/null 2>&1
    true
}

# topology_target MODE 4|6: the address the client is to speak to.
topology_target() {
    case $1/$2 in
        dnat/4) echo 10.0.1.254 ;; dnat/6) echo fd00:1::fe ;;
        */4)    echo 10.0.2.2 ;;   */6)    echo fd00:2::2 ;;
    esac
}
