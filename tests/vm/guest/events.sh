#!/bin/bash
# events.sh [BIN]: event queues, metrics and the mirror of flows on this kernel: subscribers with different filters, a slow one, a dying
# one; a gap and what follows it; an FTP transfer in `flows --tree`. BIN: folder of the programs (default target/release).
. "$REPO/tests/vm/guest/ftp-matrix.sh"
GUEST=$REPO/tests/vm/guest/events

events() {
    good=0 total=0
    local ours=ours-events
    events_config 8388608 >/run/events.toml
    events_start || { result $ours start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    events_metrics
    sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600   # what is counted must not end by itself meanwhile
    topology_rules snat ftp
    nft insert rule inet vm forwarded udp dport 10000-60000 accept
    events_filters
    events_flows
    events_slow
    events_dying
    events_broker_dies
    source_stop
    events_config 4096 >/run/events.toml
    if events_start; then events_gap; source_stop; else result $ours gap 'did not come up'; fi
    summary $ours
}

events_config() {   # bytes of the kernel's events that may wait
    cat <<TOML
[helper.ftp]
[metrics]
listen = "127.0.0.1:9811"
[events]
buffer = $1
[events.queue.1]
events = ["new", "destroy"]
filter = "helper ftp and dport 21"   # Debian's 6.1 gives what was announced the helper, too
[events.queue.2]
events = ["new"]
filter = "proto udp and dport 10000-19999"
users = [65534]
format = "json"
[events.queue.3]
events = ["new"]
filter = "proto udp"
records = 64
[events.queue.4]
events = ["new", "destroy"]
[events.queue.5]
events = ["new"]
filter = "proto udp"
records = 64
when_full = "disconnect"
TOML
}
events_start() { CTHELPERD_WHAT='--config /run/events.toml' source_start ours && wait_for 30 broker_serves; }
broker() { ours_status | /usr/bin/python3 -c "import json,sys; print(json.load(sys.stdin)['broker']['$1'])"; }
broker_serves() { [ "$(broker state)" = serving ]; }
ctl() { "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN "$@"; }
reader() { exec "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events "$@"; }   # in the background: it is what $! names
metric() { ctl metrics | awk -v name="$1" '$1 == name { print $2 }'; }
subscribers() { [ "$(metric cthelperd_broker_subscribers)" = "$1" ]; }
# udp PORT COUNT: as many new connections, one datagram each, to ports from PORT on.
udp() { ip netns exec client /usr/bin/python3 "$GUEST/burst.py" 10.0.2.2 "$1" "$2"; }
# Nothing more comes to this file.
quiet() { local before=-1 now; while now=$(stat -c %s "$1"); [ "$now" != $before ]; do before=$now; sleep 1.5; done; }
why() { [ "$1" = "$2" ] || echo "$3: ${1:-nothing}, not ${2:-nothing}"; }

events_metrics() {
    local page
    page=$(ctl metrics)
    result ours-events metrics "$(grep -q '^cthelperd_helper_packets_total{helper="ftp"} 0$' <<<"$page" || echo "no packets: $page" | head -c 200)"
    result ours-events metrics-nobody "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN metrics 2>&1 | tail -n 1 | grep -v '^# EOF')"
    page=$(curl -s http://127.0.0.1:9811/metrics)
    result ours-events metrics-port "$([ "$(tail -n 1 <<<"$page")" = '# EOF' ] || echo "no page: ${page:0:80}")"
}

events_filters() {
    reader --queue 1 >/run/ev.1 & local one=$!
    setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 2 \
        >/run/ev.2 & local two=$!
    wait_for 20 subscribers 2
    local denied; denied=$(setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 1 2>&1)
    result ours-events forbidden "$(grep -q 'not for uid 65534' <<<"$denied" || echo "$denied")"
    result ours-events transfer "$(transfer curl client 10.0.2.2 epsv 20)"
    udp 10000 50; udp 20000 50
    conntrack -F >/dev/null 2>&1
    quiet /run/ev.1; quiet /run/ev.2
    kill $one $two; wait $one $two 2>/dev/null
    result ours-events helped "$(why "$(grep -c '\[NEW\] tcp .*dport=21 .*helper=ftp' /run/ev.1)/$(grep -c '\[DESTROY\] tcp .*dport=21' /run/ev.1)/$(wc -l </run/ev.1)" 1/1/2 'new/destroy/lines')"
    result ours-events udp "$(why "$(grep -c '"event":"new".*"dport":1....*' /run/ev.2)/$(wc -l </run/ev.2)" 50/50 'events/lines')"
}

# A control connection that stays, with a data connection that is slow.
events_flows() {
    ip netns exec client /usr/bin/python3 "$GUEST/hold.py" 10.0.2.2 >/run/hold & local hold=$!
    wait_for 20 grep -q transferring /run/hold
    ctl flows --tree >/run/tree; ctl flows --json >/run/flows.json; cp /run/tree /run/flows.json "$VM_OUT"
    result ours-events tree "$(grep -A1 '^ftp  *tcp  *ESTABLISHED .* src  *1  *1  *0  *10.0.1.2:[0-9]* -> 10.0.2.2:21 seen as' /run/tree | grep -q '└ 10.0.1.2:' || tr '\n' '|' </run/tree)"
    result ours-events mirror "$(events_same_ids)"
    result ours-events flows-nobody "$(setpriv --reuid 65534 --regid 65534 --clear-groups "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN flows 2>&1 | grep -v 'only root')"
    kill $hold; wait $hold 2>/dev/null
    conntrack -F >/dev/null 2>&1
    wait_for 15 eval 'ctl flows | grep -q "^no connection"'
    result ours-events flows-end "$(ctl flows | grep -v '^no connection')"
}
# The ids of helped connections, by the mirror and by the kernel: soon the same, for what is under way is in one of them first.
events_same_ids() {
    local said end=$((SECONDS + 15))
    while said=$(events_other_ids); [ -n "$said" ] && [ $SECONDS -lt $end ]; do sleep 0.5; done
    echo "$said"
}
events_other_ids() {
    local ours theirs
    ours=$(ctl flows --json | /usr/bin/python3 -c 'import json,sys
print(" ".join(sorted(str(r["id"]) for r in map(json.loads, sys.stdin) if r["helper"])))')
    theirs=$(conntrack -L -o id 2>/dev/null | grep 'helper=ftp' | grep -o 'id=[0-9]*$' | cut -d= -f2 | sort | tr '\n' ' ')
    why "$ours" "${theirs% }" "the mirror's ids"
}

# One that reads at once, one that reads late, and one that is let go of: of all that the first got, the second got or lost every one.
events_slow() {
    reader --queue 3 --format json >/run/ev.fast & local fast=$!
    /usr/bin/python3 "$GUEST/slow.py" $CTHELPERD_RUN/events.sock 3 /run/slow.go >/run/slow & local slow=$!
    /usr/bin/python3 "$GUEST/slow.py" $CTHELPERD_RUN/events.sock 5 /run/slow.go >/run/gone & local gone=$!
    wait_for 20 subscribers 3
    rm -f /run/slow.go
    udp 20000 8000
    quiet /run/ev.fast
    touch /run/slow.go
    sleep 2; kill $fast; wait $fast 2>/dev/null
    wait_for 20 test -s /run/slow; wait_for 20 test -s /run/gone
    local all got lost; all=$(grep -c '"event":"new"' /run/ev.fast)
    read -r got lost </run/slow
    echo "slow: of $all events it read $got and was told of $lost lost; $(</run/gone) (got, lost) by the one that was let go of"
    result ours-events slow "$(why $((got + lost)) "$all" 'read and lost')"
    result ours-events slow-lost "$([ "$lost" -gt 0 ] || echo 'nothing was lost, so nothing was shown')"
    result ours-events fast "$(grep -m1 lost /run/ev.fast)"
    result ours-events disconnect "$(read -r got lost </run/gone; [ "$lost" -gt 0 ] && [ $((got + lost)) -lt "$all" ] || echo "$got, $lost")"
    kill $slow $gone 2>/dev/null; wait $slow $gone 2>/dev/null
    conntrack -F >/dev/null 2>&1
}

events_dying() {
    reader --queue 4 >/run/ev.4 & local one=$!
    reader --queue 4 >/dev/null & local two=$!
    wait_for 20 subscribers 2
    kill -KILL $two; wait $two 2>/dev/null
    wait_for 20 subscribers 1
    result ours-events dying "$(subscribers 1 || echo 'it is still subscribed')"
    udp 30000 20; quiet /run/ev.4
    result ours-events survivor "$(why "$(grep -c '\[NEW\] udp' /run/ev.4)" 20 events)"
    kill $one; wait $one 2>/dev/null
}

events_broker_dies() {
    local before after
    ip netns exec client /usr/bin/python3 "$GUEST/hold.py" 10.0.2.2 >/run/hold & local hold=$!
    wait_for 20 grep -q transferring /run/hold
    before=$(broker pid); kill -KILL "$before"
    other() { after=$(broker pid); broker_serves && [ "$after" != "$before" ]; }
    wait_for 30 other
    result ours-events broker-killed "$(other || echo 'no other came')"
    result ours-events broker-audited "$(grep -q '"event":"broker_ended","pid":'"$before" "$VM_OUT/audit.jsonl" || echo 'not in the audit log')"
    result ours-events mirror-again "$(events_same_ids)"
    kill $hold; wait $hold 2>/dev/null; conntrack -F >/dev/null 2>&1
}

# More events than the buffer holds: told as a gap, and made good.
events_gap() {
    topology_rules none ftp
    nft insert rule inet vm forwarded udp dport 10000-60000 accept
    reader --queue 4 --resync --format json >/run/ev.gap & local one=$!
    wait_for 20 subscribers 1
    udp 20000 5000
    result ours-events gap-transfer "$(transfer curl client 10.0.2.2 epsv 20)"
    ip netns exec client /usr/bin/python3 "$GUEST/hold.py" 10.0.2.2 >/run/hold & local hold=$!
    udp 30000 3000
    wait_for 20 grep -q transferring /run/hold
    quiet /run/ev.gap; sleep 2; quiet /run/ev.gap
    local gaps dropped; gaps=$(metric cthelperd_broker_gaps_total) dropped=$(metric cthelperd_broker_kernel_dropped_messages_total)
    echo "gap: $gaps gaps, $dropped messages dropped by the kernel, $(metric cthelperd_broker_dumps_total) dumps"
    result ours-events gap "$([ "${gaps:-0}" -gt 0 ] && [ "${dropped:-0}" -gt 0 ] && grep -q '"notice":"gap"' /run/ev.gap || echo "gaps $gaps, dropped $dropped")"
    result ours-events gap-mirror "$(events_same_ids)"
    kill $one; wait $one 2>/dev/null
    conntrack -L -o id 2>/dev/null | grep -o 'id=[0-9]*$' | cut -d= -f2 | sort >/run/kernel.ids
    result ours-events resync "$(/usr/bin/python3 "$GUEST/consistent.py" /run/ev.gap /run/kernel.ids)"
    kill $hold; wait $hold 2>/dev/null; conntrack -F >/dev/null 2>&1
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    BIN=${1:-$BIN}
    : >"$VM_OUT/results"
    topology_build
    server_start pyftpdlib || exit
    events
    server_stop
    [ $good -eq $total ]
fi
