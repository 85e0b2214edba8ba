#!/bin/bash
# bench.sh [SECONDS [SOURCE...]]: round trips of FTP control lines through the router, per source of the
# helper, with 1, 64 and 512 requests in flight (as many connections, one each). All in one VM: the
# emulation is slow but even, so read the numbers as ratios.
#
#   none        no helper attached          kernel   nf_conntrack_ftp
#   bare        bare.c: a queue loop that parses nothing, the floor of any user-space helper
#   conntrackd  the packaged daemon         ours     cthelperd: supervisor, workers, broker and all
#
# CPU is utime+stime of the daemon and its children, per packet that went through the queue. Lost:
# what the queue dropped (full, or socket buffer full); TCP hides such a loss, so segments sent
# again are shown too. Without arguments the kernel's events follow: bench-events.sh.
all=$#
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
tools=$REPO/target/vm/bin
seconds=${1:-4}; shift || true
[ $# -gt 0 ] || set -- none kernel bare conntrackd ours

family_tree() {   # pid -> pid and all its descendants
    local c
    echo "$1"
    for c in $(cat /proc/"$1"/task/*/children 2>/dev/null); do family_tree "$c"; done
}
cpu_ticks() {   # of one daemon and its descendants
    local total=0 p a
    for p in $(family_tree "$1"); do
        a=$(sed 's/.*) //' /proc/"$p"/stat 2>/dev/null) || continue
        set -- $a; total=$((total + ${12:-0} + ${13:-0}))
    done
    echo $total
}
queue_sum() { awk -v c="$1" '{ n += $c } END { print n + 0 }' /proc/net/netfilter/nfnetlink_queue 2>/dev/null; }
lost() { echo $(($(queue_sum 6) + $(queue_sum 7))); }
resent() { local n s=0; for n in client server; do
    s=$((s + $(ip netns exec $n cat /proc/net/snmp | awk '/^Tcp: [0-9]/ { print $13 }'))); done; echo $s; }

start_bare() {
    modprobe -a nfnetlink_cthelper nfnetlink_queue
    SOURCE=bare HELPER=ftp
    "$tools/bare" & SOURCE_PID=$!
    wait_for 10 queue_bound 100
}

topology_build
modprobe nfnetlink_queue
ip netns exec server "$tools/load" server 10.0.2.2 21 & server=$!
printf '%-11s %9s %12s %13s %9s %9s %6s %7s\n' source 'in flight' 'round trips/s' 'CPU us/packet' 'p50 us' 'p99 us' lost resent
: >"$VM_OUT/bench"
for source in "$@"; do
    if [ $source = ours ] && [ ! -x "$BIN/cthelperd" ]; then
        echo "ours: target/release/cthelperd is not built"; continue
    fi
    if [ $source = bare ]; then start_bare; else source_start $source; fi || {
        echo "$source did not come up"; source_stop; continue; }
    topology_rules none "$HELPER" || continue
    for n in 1 64 512; do
        lost0=$(lost) resent0=$(resent) packets0=$(queue_sum 8) ticks0=0
        [ -z "$SOURCE_PID" ] || ticks0=$(cpu_ticks $SOURCE_PID)
        read -r trips time p50 p99 < <(ip netns exec client timeout 60 "$tools/load" client 10.0.2.2 21 $n "$seconds")
        ticks=0
        [ -z "$SOURCE_PID" ] || ticks=$(($(cpu_ticks $SOURCE_PID) - ticks0))
        packets=$(($(queue_sum 8) - packets0))
        rate=$(awk -v t="$trips" -v s="$time" 'BEGIN { printf "%.0f", (s > 0) ? t / s : 0 }')
        cost=$(awk -v k=$ticks -v p=$packets 'BEGIN { if (p > 0) printf "%.1f", k * 10000 / p; else print "-" }')
        printf '%-11s %9s %12s %13s %9s %9s %6s %7s\n' $source $n "$rate" "$cost" "${p50:--}" "${p99:--}" \
            $(($(lost) - lost0)) $(($(resent) - resent0)) | tee -a "$VM_OUT/bench"
        # The next round counts only its own connections.
        conntrack -F >/dev/null 2>&1; sleep 0.5
    done
    source_stop
done
kill $server

# The promises of SPECIFICATION.md, as ratios to conntrackd.
awk '$2 == 1 { p50[$1] = $5 } $2 == 64 { rate[$1] = $3; cpu[$1] = $4 } $2 == 512 { lost[$1] = $7 }
    END { if (rate["ours"] && rate["conntrackd"]) {
        printf "\ncthelperd / conntrackd: CPU per packet at 64 %.2f (wanted <= 0.5), round trips/s at 64 %.2f (wanted >= 2),\n", cpu["ours"] / cpu["conntrackd"], rate["ours"] / rate["conntrackd"]
        printf "p50 at 1 %.2f (wanted <= 1), lost at 512: %s (wanted 0)\n", p50["ours"] / p50["conntrackd"], lost["ours"] } }' "$VM_OUT/bench"

[ $all -gt 0 ] || { echo; exec "$REPO/tests/vm/guest/bench-events.sh"; }
