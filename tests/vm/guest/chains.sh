#!/bin/bash
# chains.sh: announced connections with a helper of their own. The three helpers of tests/src/bin/chain
# lead from a UDP request over two further connections to 100 kB of data; only the first is attached by
# a rule, and everything but it and what is related is dropped.
#
# {IPv4 IPv6} x {none snat dnat} x {tcp, udp: what the first packet of an announced connection
# announces}; then with every worker killed between two messages of each step, and the supervisor. A line per case:
#   ours-chains 6.1 4-snat-tcp ok
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/ftp-matrix.sh"

CHAIN=$REPO/tests/vm/guest/chain-peer.py

chains() {
    local peer nat
    good=0 total=0
    # Killed all at once and again and again, with a packet to come at once: none may pass unread, no circuit may open.
    printf '[helper.%s]\nworker = "'"$BIN"'/chain"\nrestart = { hold = "10s", backoff = { initial = "1ms", max = "1ms" }, limit = { burst = 1000 } }\n' \
        call media admit >/run/chains.toml
    CTHELPERD_WHAT='--config /run/chains.toml' source_start ours || { result ours-chains start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"; source_stop; return; }
    ip netns exec server "$CHAIN" server >>"$VM_OUT/chain-peer.log" 2>&1 & peer=$!
    wait_for 10 eval 'ip netns exec server ss -Hlun | grep -q ":1719 "'
    for nat in none snat dnat; do
        chains_rules $nat || { result ours-chains "rules-$nat" "nft refused the rules"; continue; }
        for family in 4 6; do
            for kind in tcp udp; do chain $family-$nat-$kind $kind; done
        done
        chain 4-$nat-killed-tcp tcp 'pkill -9 -x chain; sleep 0.3'
        chain 4-$nat-killed-udp udp 'pkill -9 -x chain; sleep 0.3'
    done
    chains_judge
    nat=none; chains_rules none
    for kind in tcp udp; do chain_successor $kind; done
    chains_refused
    kill $peer; wait $peer 2>/dev/null
    source_stop || result ours-chains stop "did not end in order"
    summary ours-chains
}

chains_rules() {
    topology_rules $1 '' || return
    nft -f - <<'NFT' || return
table inet vm {
    ct helper h { type "admit" protocol udp; l3proto inet; }
    chain attach_pre { type filter hook prerouting priority -150; udp dport 1719 ct helper set "h"; }
    chain allowed { udp dport 1719 ct state new accept; }
}
NFT
    if [ $1 = dnat ]; then
        nft add rule inet vm_nat pre iifname "c0" udp dport 1719 ip daddr 10.0.1.254 dnat ip to 10.0.2.2
        nft add rule inet vm_nat pre iifname "c0" udp dport 1719 ip6 daddr fd00:1::fe dnat ip6 to fd00:2::2
    fi
}

chain() {   # case, kind, between
    local family=${1%%-*} why=''
    why=$(ip netns exec client "$CHAIN" client $(topology_target $nat $family) $2 "${3:-}" 2>&1) || why=${why:-failed}
    result ours-chains $1 "$(tail -n 1 <<<"$why")"
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN flows --tree >>"$VM_OUT/chains-trees" 2>&1
}

# The supervisor is killed before what each step announces is said, and another goes on. It knows nothing of the connections that are there, and
# which helper reads them.
chain_successor() {   # kind
    local client died=0 why=''
    rm -f /run/chains-die
    ip netns exec client "$CHAIN" client 10.0.2.2 $1 'touch /run/chains-die; while [ -e /run/chains-die ]; do sleep 0.1; done' plain \
        >/run/chains-said 2>&1 & client=$!
    while wait_for 30 _asked_to_die $client; do
        kill -KILL $SOURCE_PID; wait $SOURCE_PID 2>/dev/null
        CTHELPERD_WHAT='--config /run/chains.toml' source_start ours || why='no successor'
        died=$((died + 1))
        rm -f /run/chains-die
    done
    wait $client || why=$(tail -n 1 /run/chains-said)
    [ $died -gt 1 ] || why="it died $died times; $why"
    result ours-chains 4-none-successor-$1 "$why"
}
_asked_to_die() { [ -e /run/chains-die ] && return 0; kill -0 $1 2>/dev/null && return 1; return 2; }

# Each helper read its own connections, lost nothing, refused nothing; and the tree shows who did.
chains_judge() {
    local why
    ours_status >"$VM_OUT/chains-status.json"
    why=$(/usr/bin/python3 - "$VM_OUT/chains-status.json" <<'PY'
import json, sys
for h in json.load(open(sys.argv[1]))["helpers"]:
    bad = {**h["refused"], **h["malformed"], **{k: v for k, v in h["trouble"].items() if k not in ("expectation-unseen", "helper-unassigned")}}
    if bad: print(h["name"], bad)
    if h["packets"] != h["verdicts"]: print(h["name"], h["packets"], "packets", h["verdicts"], "verdicts")
    if h["expectations"] < 18: print(h["name"], h["expectations"], "expectations")
PY
)
    result ours-chains judged "${why//$'\n'/ }"
    why=''
    grep -q '^media .*└' "$VM_OUT/chains-trees" || why='no connection of media below another'
    result ours-chains tree "$why"
}

# Without the next helper the announcement is refused by name.
chains_refused() {
    source_stop
    printf '[helper.admit]\nworker = "'"$BIN"'/chain"\n' >/run/chains.toml
    CTHELPERD_WHAT='--config /run/chains.toml' source_start ours || { result ours-chains restart "did not come up"; return; }
    nat=none; chains_rules none
    ip netns exec client "$CHAIN" client 10.0.2.2 udp >/dev/null 2>&1
    ours_status | grep -q '"foreign-helper":1'
    result ours-chains refused "$([ $? = 0 ] || ours_status)"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    topology_build
    chains
    exit 0
fi
