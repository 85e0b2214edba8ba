#!/bin/bash
# chaos.sh [PART...]: workers are ended all the time, and nobody notices. Parts: ftp flood misbehave reload (default: all).
#
#   ftp        300 downloads over six control connections (IPv4 PASV EPSV PORT EPRT, IPv6 EPSV EPRT; SNAT) while every 200 ms
#              a worker, spare or not, is ended by a signal, and a hostile client makes others panic, spin, hang, eat memory
#              and call what they must not
#   flood      512 datagrams in flight through another helper, whose workers are ended the same way: echoed == sent
#   reload     new settings while it serves, and a file that is wrong
#   misbehave  each way to go wrong ends within its deadline, and the other helper's datagrams do not notice
#
# The workers are `fragile` (tests/src/bin/fragile). A packet in hand of a dead FTP worker is dropped, so that TCP sends it again and
# the next worker reads it; one of the flood passes, because nobody would send it again. CHAOS_SEED (default: today's date) makes
# the same choices again. Sourced, it only defines chaos_*; lines are those of ftp-matrix.sh.
. "$REPO/tests/vm/guest/ftp-matrix.sh"

CHAOS=$REPO/tests/vm/guest/chaos
CHAOS_SEED=${CHAOS_SEED:-$(date +%Y%m%d)}
CHAOS_PERIOD=0.2       # seconds from one kill to the next (killer.py says when it is longer)
CHAOS_TRANSFERS=300
CHAOS_SECONDS=90       # of killing; on a machine that is too slow the last transfers go on without (and the account says so)
CHAOS_DEADLINE=500     # ms a worker may keep a packet
CHAOS_SLACK=3500       # ms on top of it for an emulated machine that is busy to see, kill and record
# kB that the daemon may grow from the second to the last quarter of a run: the 32 receive buffers of 70 kB of each of two lanes become
# resident as bursts come, and then no more does.
CHAOS_GROWTH=6144
AUDIT=$VM_OUT/audit.jsonl

chaos_config() {   # both helpers; what becomes of a packet in hand
    local helper crash
    while read -r helper crash; do
        cat <<CONF
[helper.$helper]
worker = "$BIN/fragile"
[helper.$helper.restart]
deadline = "${CHAOS_DEADLINE}ms"
spares = 2
backoff = { initial = "1ms", max = "1ms" }
limit = { burst = 1000, interval = "60s" }
blame = { times = 255, penalty = "1s" }
on_crash_packet = "$crash"
hold = "10s"
CONF
    done <<'LIST'
ftp drop
echo pass
LIST
}

# The daemon with both helpers, the rules of SNAT, and udp/69 helped besides.
chaos_start() {
    chaos_config >/run/chaos.toml
    : >"$AUDIT"
    CTHELPERD_WHAT='--config /run/chaos.toml' source_start ours || return
    topology_rules snat ftp && nft -f - <<'NFT'
table inet vm {
    ct helper datagrams { type "echo" protocol udp; l3proto inet; }
    chain attach_pre { udp dport 69 ct helper set "datagrams"; }
    chain allowed { ct state new udp dport 69 accept; }
}
NFT
}

# chaos_kill HELPER / chaos_spare: the killer begins, and ends with its account in /run/chaos.kills.
chaos_kill() {
    rm -f /run/chaos.begun
    /usr/bin/python3 "$CHAOS/killer.py" $SOURCE_PID "$1" "$CHAOS_SEED" $CHAOS_PERIOD /run/chaos.begun \
        >/run/chaos.kills 2>>"$VM_OUT/chaos.log" & KILLER=$!
    wait_for 20 test -e /run/chaos.begun
}
chaos_spare() { kill -TERM $KILLER; wait $KILLER; cat /run/chaos.kills >>"$VM_OUT/chaos.log"; }

# chaos_at_rest HELPER EXPECTATIONS: what must be true of it when nothing is under way, and so many were made. Says what is not, or nothing.
chaos_at_rest() {
    local end=$((SECONDS + 20)) said=x
    while [ -n "$said" ] && [ $SECONDS -lt $end ]; do
        said=$(ours_status | /usr/bin/python3 "$CHAOS/account.py" rest "$1" "$2")
        [ -z "$said" ] || sleep 0.3
    done
    echo "$said"
}

unused_expectations() { conntrack -L expect 2>/dev/null | grep -c .; }
# none CASE NUMBER WHAT: a result that is right when the number is 0.
none() { if [ "$2" = 0 ]; then result ours-chaos "$1" ''; else result ours-chaos "$1" "$2 $3"; fi; }
lost_in_queues() { awk '{ n += $6 + $7 } END { print n + 0 }' /proc/net/netfilter/nfnetlink_queue; }

chaos_ftp() {
    local client why line begin=$SECONDS
    echo "chaos: seed $CHAOS_SEED, a kill every $CHAOS_PERIOD s, deadline $CHAOS_DEADLINE ms"
    rm -f /run/chaos.quit
    : >/run/chaos.sessions
    chaos_kill ftp
    ip netns exec client /usr/bin/python3 "$CHAOS/sessions.py" $CHAOS_TRANSFERS "$(topology_target snat 4)" "$(topology_target snat 6)" \
        "$CHAOS_SEED" /run/chaos.quit >/run/chaos.sessions 2>>"$VM_OUT/chaos.log" & client=$!
    wait_for $CHAOS_SECONDS chaos_is_idle $client || echo "chaos: killing ends after $CHAOS_SECONDS s, before the transfers do"
    chaos_spare
    wait_for 200 chaos_is_idle $client
    none expectations-while-connected "$(unused_expectations)" 'expectations that nobody used, with all transfers done'
    : >/run/chaos.quit
    wait $client; cat /run/chaos.sessions >>"$VM_OUT/chaos.log"
    while read -r line; do
        case $line in
            ipv*\ *\ of\ *) why=$line; [[ $line =~ ^(ipv[^ ]*)\ ([0-9]+)\ of\ ([0-9]+),\ slowest\ [0-9.]+\ s$ && ${BASH_REMATCH[2]} = "${BASH_REMATCH[3]}" ]] && why=''
                result ours-chaos "ftp-${line%% *}" "$why" ;;
            *' control connections live') [ "${line%% *}" = 6 ] && line=''; result ours-chaos ftp-control-connections "$line" ;;
        esac
        [ -z "$line" ] || echo "  $line"
    done </run/chaos.sessions
    chaos_judge ftp $CHAOS_TRANSFERS SIGKILL SIGSEGV SIGABRT SIGSYS hung panic
    sleep 1
    none expectations-after "$(unused_expectations)" 'expectations are left'
    echo "chaos: ftp took $((SECONDS - begin)) s"
}
chaos_is_idle() { grep -q ^idle /run/chaos.sessions && return 0; kill -0 "$1" 2>/dev/null || return 2; return 1; }

# chaos_judge HELPER EXPECTATIONS CAUSE...: after a run with kills. Each cause must have happened, or the run proves less than it says.
chaos_judge() {
    local helper=$1 expectations=$2; shift 2
    result ours-chaos "$helper-every-packet-answered" "$(chaos_at_rest "$helper" $expectations)"
    result ours-chaos "$helper-deaths" "$(/usr/bin/python3 "$CHAOS/account.py" deaths "$AUDIT" "$helper" /run/chaos.kills "$@" 2>>/run/chaos.words)"
    result ours-chaos "$helper-memory-flat" "$(/usr/bin/python3 "$CHAOS/account.py" flat /run/chaos.kills $CHAOS_GROWTH 2>>/run/chaos.words)"
    none "$helper-queue-lost" "$(lost_in_queues)" 'packets lost by the queues'
    sed 's/^/  /' /run/chaos.words; rm -f /run/chaos.words
}

flood_server() {
    local host
    FLOOD=()
    for host in 10.0.2.2 fd00:2::2; do
        ip netns exec server "$REPO/target/vm/bin/flood" server $host 69 & FLOOD+=($!)
    done
    sleep 0.3
}

# flood NAME FLOWS WINDOW SECONDS: over IPv4 and IPv6 at the same time, half each; SENT ECHOED REPEATED FLOWS P50 P99 WORST LATE in /run/flood.NAME.*
flood() {
    local host pids=()
    for host in 10.0.2.2 fd00:2::2; do
        ip netns exec client "$REPO/target/vm/bin/flood" client $host 69 $(($2 / 2)) "$3" "$4" >"/run/flood.$1.${host//:/}" 2>&1 & pids+=($!)
    done
    wait "${pids[@]}"
}
# flood_said NAME [LATE]: nothing if all came back once, no more than so many of them late (0.4 s).
flood_said() {
    local f sent echoed repeated flows p50 p99 worst late why=''
    for f in /run/flood."$1".*; do
        read -r sent echoed repeated flows p50 p99 worst late <"$f"
        echo "  ${f##*.}: $sent sent, $echoed echoed, $repeated twice, $flows flows, p50 $p50 us, p99 $p99 us, worst $worst us, $late late" >&2
        if [ "${sent:-0}" = 0 ] || [ "$sent" != "$echoed" ] || [ "$repeated" != 0 ]; then why+="${f##*.}: $(<"$f") "
        elif [ -n "${2:-}" ] && [ "$late" -gt "$2" ]; then why+="${f##*.}: $late were late, worst $worst us "; fi
    done
    echo "$why"
}

chaos_flood() {
    local begin=$SECONDS
    flood_server
    chaos_kill echo
    flood kills 64 8 12
    chaos_spare
    result ours-chaos flood-echoed-is-sent "$(flood_said kills 2> >(cat >&2))"
    chaos_judge echo 0 SIGKILL SIGSEGV SIGABRT hung
    kill "${FLOOD[@]}"
    echo "chaos: the flood took $((SECONDS - begin)) s"
}

# Each harm once, by a line of FTP (and one by SIGSTOP), while a few datagrams go round.
chaos_misbehave() {
    local begin=$SECONDS ended why
    ended=$(echo_ended)
    flood_server
    # A lane that waited for the other's worker would make its four flows of a family late for each of the four that hang here (TCP
    # says a line twice), every time. Two stalls of a busy machine are borne; with more of them the round proves nothing.
    for _ in 1 2 3; do
        chaos_harm calm hang stop panic syscall
        why=$(flood_said calm 8)
        [ -n "$why" ] || break
    done
    result ours-chaos undisturbed "$why"
    chaos_harm busy spin eat
    # These two take a processor of the machine's two: being slow is allowed.
    result ours-chaos undisturbed-by-greed "$(flood_said busy)"
    none undisturbed-worker $(($(echo_ended) - ended)) "of the other helper's workers ended"
    kill "${FLOOD[@]}"
    echo "chaos: misbehaving took $((SECONDS - begin)) s"
}
echo_ended() { grep -E '"(worker_crashed|worker_hung)"' "$AUDIT" | grep -c '"helper":"echo"'; }

# chaos_harm FLOOD HARM...: the datagrams go round until all of it is over.
chaos_harm() {
    local name why pids=() host
    for host in 10.0.2.2 fd00:2::2; do
        ip netns exec client "$REPO/target/vm/bin/flood" client $host 69 4 1 300 >"/run/flood.$1.${host//:/}" 2>&1 & pids+=($!)
    done
    sleep 1
    ip netns exec client /usr/bin/python3 "$CHAOS/misbehave.py" "$(topology_target snat 4)" "$AUDIT" $((CHAOS_DEADLINE + CHAOS_SLACK)) \
        "$BIN/cthelperctl" $CTHELPERD_RUN "${@:2}" >/run/chaos.harms 2>>"$VM_OUT/chaos.log"
    kill -TERM "${pids[@]}"; wait "${pids[@]}"
    while read -r name why; do result ours-chaos "ends-$name" "${why#ok}"; done < <(sed 's/ ok .*/ ok/' /run/chaos.harms)
    sed 's/^/  /' /run/chaos.harms
}

# New settings apply while the daemon serves; a file that is wrong changes nothing, and says where.
chaos_reload() {
    local said status
    sed -i 's/^spares = 2/spares = 1/' /run/chaos.toml
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN reload 2>&1)
    if [ "$said" = $'applied: helper echo: restart policy\napplied: helper ftp: restart policy' ]; then said=''; fi
    result ours-chaos reload "$said"
    echo 'spares = 9' >>/run/chaos.toml
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN reload 2>&1); status=$?
    case $status:$said in
        78:*/run/chaos.toml:*:*) result ours-chaos reload-wrong-file '' ;;
        *) result ours-chaos reload-wrong-file "status $status: $said" ;;
    esac
    if ours_serving; then result ours-chaos reload-serves ''; else result ours-chaos reload-serves 'it does not serve'; fi
}

# chaos [PART...]: with topology and FTP server there; starts and stops the daemon.
chaos() {
    local part
    good=0 total=0
    [ $# -gt 0 ] || set -- ftp flood misbehave reload
    if ! chaos_start; then
        result ours-chaos start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"
        source_stop
        return
    fi
    for part in "$@"; do chaos_$part; done
    if source_stop; then result ours-chaos sigterm ''; else result ours-chaos sigterm 'no clean end on SIGTERM'; fi
    summary ours-chaos
    [ $good -eq $total ]
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    : >"$VM_OUT/results"
    topology_build
    server_start vsftpd || exit
    chaos "$@"; status=$?
    server_stop
    exit $status
fi
