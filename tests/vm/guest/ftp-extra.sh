# What `ours` must do beyond the matrix, for sourcing after ftp-matrix.sh, with `ours` running:
# another server, another client, either end on the router itself, and a worker killed between
# two transfers of one control connection.

extra_vsftpd() {
    server_start vsftpd || { result ours-vsftpd start "vsftpd does not listen"; return; }
    matrix ours-vsftpd curl
    server_start pyftpdlib
}

extra_lftp() { matrix ours-lftp lftp; }

# The rules see these connections in output and input instead of forward; over lo the helper is
# called twice for every packet.
extra_local() {
    topology_rules none "$HELPER"
    good=0 total=0
    cases ours-local -client-on-router curl - 10.0.2.2 fd00:2::2
    server_start pyftpdlib - 10.0.1.254 fd00:1::fe 127.0.0.1 ::1
    cases ours-local -server-on-router curl client 10.0.1.254 fd00:1::fe
    cases ours-local -both-on-router curl - 127.0.0.1 ::1
    server_start pyftpdlib
    summary ours-local
}

# The first copy of every announcement is lost behind the router, where it has been helped already: the sender repeats it,
# and the repetition must be rewritten to the same bytes, with the same expectation and the same sequence numbers.
extra_repeat() {
    local host lost
    for host in client server; do
        ip netns exec $host nft -f - <<'RULES' || { result ours-repeat rules "nft refused the rules"; return; }
table inet lossy {
    set seen { type inet_service . inet_service; flags dynamic; size 1024; }
    chain input {
        type filter hook input priority -300; policy accept;
        # The first four bytes behind a TCP header of 32: PORT, EPRT, "227 ", "229 ".
        meta l4proto tcp @th,256,32 { 0x504f5254, 0x45505254, 0x32323720, 0x32323920 } jump once
    }
    chain once {
        tcp sport . tcp dport @seen accept
        add @seen { tcp sport . tcp dport } counter drop
    }
}
RULES
    done
    matrix ours-repeat curl
    for host in client server; do
        lost=$(ip netns exec $host nft list chain inet lossy once | sed -n 's/.*packets \([0-9]*\).*/\1/p')
        if [ "${lost:-0}" -gt 0 ]; then result ours-repeat lost-before-$host ''; else result ours-repeat lost-before-$host "nothing was lost"; fi
        ip netns exec $host nft delete table inet lossy
    done
}

# An announcement cut by a segment boundary: without NAT it is put together, under NAT the sender is made to repeat it whole.
extra_split() {
    local nat family why
    good=0 total=0
    for nat in none snat; do
        topology_rules $nat "$HELPER"
        for family in 4 6; do
            why=$(ip netns exec client "$REPO/tests/vm/guest/ftp-session.py" "$(topology_target $nat $family)" split true \
                2>>"$VM_OUT/transfers.log") && why=''
            result ours-split "ipv$family-$nat" "$why"
        done
    done
    summary ours-split
}

# A worker dies; the control connection lives on, because its state lies in the kernel.
extra_kill() {
    local family mode what crashes
    topology_rules snat "$HELPER"
    good=0 total=0
    while read -r family mode what; do
        local why
        why=$(ip netns exec client "$REPO/tests/vm/guest/ftp-session.py" "$(topology_target snat $family)" $mode \
            "$REPO/tests/vm/guest/kill-worker.sh" $what 2>>"$VM_OUT/transfers.log") && why=''
        [ -n "$why" ] || wait_for 15 ours_serving || why='does not serve again'
        result ours-kill "ipv$family-$mode-${what// /-idle-}" "$why"
    done <<'LIST'
4 passive KILL
6 active KILL
4 active SEGV 2
6 passive KILL 3
LIST
    crashes=$(grep -c '"worker_crashed"' "$VM_OUT/audit.jsonl")
    if [ "$crashes" -ge 4 ]; then result ours-kill audited ''; else result ours-kill audited "$crashes of 4 crashes in the audit log"; fi
    summary ours-kill
}

rss_kb() { awk '/^VmRSS/ { print $2 }' /proc/"$1"/status; }

# What the operator relies on: one daemon to a host, small processes, every packet answered.
extra_operate() {
    local said status rss
    good=0 total=0
    said=$("$BIN/cthelperd" run --helper ftp --runtime-dir /run/second 2>&1); status=$?
    case $status:$said in
        69:*"another cthelperd"*) result ours-operate second-daemon '' ;;
        *) result ours-operate second-daemon "status $status: $said" ;;
    esac
    rss=$(rss_kb $SOURCE_PID)
    if [ "$rss" -le 16384 ]; then result ours-operate supervisor-rss ''; else result ours-operate supervisor-rss "$rss kB, 16384 wanted"; fi
    rss=$(rss_kb "$(ours_worker)")
    if [ "$rss" -le 4096 ]; then result ours-operate worker-rss ''; else result ours-operate worker-rss "$rss kB, 4096 wanted"; fi
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN status --json | python3 -c '
import json, sys
h = json.load(sys.stdin)["helpers"][0]
print("" if h["packets"] == h["verdicts"] > 0 and not h["trouble"] else h)')
    result ours-operate every-packet-answered "$said"
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor 2>&1) && said=''
    result ours-operate doctor "$(printf %s "$said" | tr '\n' ' ')"
    summary ours-operate
}

# The queue lost nothing; SIGTERM is a clean end that leaves the helper registered and disabled; the kernel's own module is named.
extra_end() {
    local lost said
    good=0 total=0
    lost=$(awk '{ n += $6 + $7 } END { print n + 0 }' /proc/net/netfilter/nfnetlink_queue)
    if [ "$lost" = 0 ]; then result ours-end no-packet-lost ''; else result ours-end no-packet-lost "$lost dropped"; fi
    kill -TERM $SOURCE_PID
    wait_for 20 _gone $SOURCE_PID
    said=$("$BIN/cthelperctl" nfct list helper | grep -c 'status = disabled')
    if [ "$said" = 2 ]; then result ours-end left-disabled ''; else result ours-end left-disabled "$said of 2 objects disabled"; fi
    if source_stop; then result ours-end sigterm ''; else result ours-end sigterm "no clean end on SIGTERM"; fi
    modprobe nf_conntrack_ftp
    said=$("$BIN/cthelperd" run --helper ftp --runtime-dir $CTHELPERD_RUN 2>&1)
    case $said in
        *"modprobe -r nf_nat_ftp nf_conntrack_ftp"*) result ours-end name-taken '' ;;
        *) result ours-end name-taken "$said" ;;
    esac
    modprobe -r nf_conntrack_ftp
    summary ours-end
}

# After SIGKILL the helper is enabled and nobody holds its queue: doctor says so, disarm ends it, and the next start is a clean one.
extra_unclean() {
    local said
    good=0 total=0
    source_start ours || { result ours-unclean start "did not come up again"; return; }
    kill -KILL $SOURCE_PID
    wait $SOURCE_PID 2>/dev/null
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor >/run/doctor.log 2>&1 && said='doctor finds nothing wrong' || said=''
    result ours-unclean doctor "$said"
    "$BIN/cthelperctl" disarm >/dev/null
    said=$("$BIN/cthelperctl" nfct list helper | grep -c 'status = disabled')
    if [ "$said" = 2 ]; then result ours-unclean disarm ''; else result ours-unclean disarm "$said of 2 objects disabled"; fi
    if source_start ours; then result ours-unclean start ''; else result ours-unclean start "$(tail -n 1 "$VM_OUT/cthelperd.log")"; fi
    if source_stop; then result ours-unclean sigterm ''; else result ours-unclean sigterm "no clean end on SIGTERM"; fi
    summary ours-unclean
}

# Nobody reads the daemon's own log, and then its reader is gone: a pipe that is full, and one that is broken.
extra_log() {
    local reader
    good=0 total=0
    rm -f /run/unread; mkfifo /run/unread
    sleep 600 </run/unread & reader=$!
    head -c 65536 /dev/zero >/run/unread
    CTHELPERD_STDERR=/run/unread source_start ours || { result ours-log start 'did not come up'; kill $reader; return; }
    topology_rules snat "$HELPER"
    _log_after_death unread
    kill $reader; wait $reader 2>/dev/null
    _log_after_death reader-gone
    if source_stop; then result ours-log sigterm ''; else result ours-log sigterm 'no clean end on SIGTERM'; fi
    summary ours-log
}
_log_after_death() {   # CASE: a worker is killed, which is logged, and a transfer is helped
    local why=''
    "$REPO/tests/vm/guest/kill-worker.sh" KILL || why='no worker was killed'
    wait_for 20 ours_serving || why="${why:-it does not serve}"
    [ -n "$why" ] || why=$(transfer curl client "$(topology_target snat 4)" epsv 20)
    result ours-log "$1" "$why"
}
