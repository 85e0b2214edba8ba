#!/bin/bash
# own-filter.sh: the supervisor's life under a tracer: it serves, loses workers and its keeper, is reloaded and stopped. Then the
# sandbox rung's program says whether a line of its table went unused. Two lines, those of ftp-matrix.sh. Sourced, it only defines own_filter.
. "$REPO/tests/vm/guest/ftp-matrix.sh"

own_filter() {
    local trace=$VM_OUT/supervisor.calls said worker
    good=0 total=0
    cat >/run/own-filter.toml <<CONF
[helper.ftp]
worker = "$BIN/fragile"
[helper.ftp.restart]
backoff = { initial = "1ms", max = "1ms" }
CONF
    rm -f "$trace"
    if ! CTHELPERD_TRACER="$BIN/tracer alone $trace" CTHELPERD_WHAT='--config /run/own-filter.toml' source_start ours; then
        result ours-filter start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"
        source_stop
        return
    fi
    topology_rules snat ftp
    own_filter_life
    kill -TERM $SOURCE_PID
    wait_for 20 own_filter_written "$trace"
    if wait $SOURCE_PID; then result ours-filter life ''; else result ours-filter life 'no clean end on SIGTERM'; fi
    SOURCE_PID=''
    source_stop
    said=$(CTHELPERD_CALLS=$trace "$REPO/target/vm/bin/sandbox" --exact rules::each_line_of_the_supervisor_is_used --ignored --nocapture 2>&1) && said=''
    echo "$said" >>"$VM_OUT/sandbox.log"
    result ours-filter each-line-is-used "$(grep -a -m 1 'left:' <<<"$said" || tail -n 1 <<<"$said")"
    summary ours-filter
}
own_filter_written() { [ "$(tail -n 1 "$1" 2>/dev/null)" = end ]; }

own_filter_life() {
    local ctl="$BIN/cthelperctl --runtime-dir $CTHELPERD_RUN"
    transfer curl client "$(topology_target snat 4)" pasv 20 >/dev/null
    transfer curl client "$(topology_target snat 6)" eprt 20 >/dev/null
    # A packet that ends its worker goes into the quarantine.
    ip netns exec client curl -s -m 5 -Q '*SITE PANIC' "ftp://$(topology_target snat 4)/file" -o /dev/null
    wait_for 10 eval 'ls $CTHELPERD_RUN/quarantine | grep -q .'
    kill -SEGV "$(ours_worker)"
    wait_for 10 ours_serving
    pkill -KILL -f '^/proc/self/exe keeper '
    wait_for 10 eval "! $ctl status --json | grep -q keeper-lost"
    $ctl reload; $ctl disable ftp; $ctl enable ftp; $ctl restart ftp
    kill -HUP $SOURCE_PID
    wait_for 10 ours_serving
    sleep 6   # the watch over the keeper comes round
} >/dev/null 2>&1

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    : >"$VM_OUT/results"; : >"$VM_OUT/audit.jsonl"
    topology_build
    server_start vsftpd || exit
    own_filter
    server_stop
    ! grep FAIL "$VM_OUT/results"
fi
