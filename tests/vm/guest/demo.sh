#!/bin/bash
# demo.sh colour|plain [SOURCE]: the main job as a live account, on the router of topology.sh under SNAT.
# SOURCE: ours (default), or kernel to try the script itself without cthelperd.
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/peers.sh"
source=${2:-ours}
B='' G='' R='' D='' Y='' N=''
if [ "${1:-}" = colour ]; then
    B=$'\e[1;36m' G=$'\e[32m' R=$'\e[1;31m' D=$'\e[2m' Y=$'\e[33m' N=$'\e[0m'
fi
failed=0
step() { printf '\n%s== %s%s\n' "$B" "$*" "$N"; }
run()  { printf '%s$ %s%s\n' "$D" "$*" "$N"; }
good() { printf '%s   ok: %s%s\n' "$G" "$*" "$N"; }
bad()  { printf '%s   FAILED: %s%s\n' "$R" "$*" "$N"; failed=1; }
as_is() { while IFS= read -r line; do printf '%s%s%s\n' "$Y" "$line" "$N"; done; }

# What `conntrack -E expect` wrote since we last looked, exactly as it wrote it.
seen=0
expectations() {
    sleep 0.5
    tail -c +$((seen + 1)) /run/expect.log | as_is
    seen=$(stat -c %s /run/expect.log)
}

step "Debian's own kernel $(uname -r); client 10.0.1.2 -- router (SNAT) -- server 10.0.2.2, and the same over IPv6"
topology_build
server_start pyftpdlib || exit
good "real FTP server (pyftpdlib) listens behind the router"

if [ $source = ours ]; then
    step "The router starts cthelperd"
    run "cthelperd run --helper ftp --runtime-dir $CTHELPERD_RUN ..."
    source_start ours || { bad "cthelperd did not come up"; tail "$VM_OUT/cthelperd.log"; exit 1; }
    good "ftp is serving"
    run "cthelperctl nfct list helper"
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN nfct list helper | as_is
    worker=$(ours_worker)
    step "The process that parses what strangers send: pid $worker, with nothing to its name"
    run "grep ... /proc/$worker/status"
    grep -E '^(Name|Uid|Gid|Groups|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters):' /proc/$worker/status
    printf 'sockets and files: %s, network interfaces: %s\n' "$(ls /proc/$worker/fd | wc -l)" \
        "$(awk -F: 'NR > 2 { gsub(/ /, "", $1); printf "%s ", $1 }' /proc/$worker/net/dev)"
else
    source_start $source || exit
fi
topology_rules snat "$HELPER" || exit
step "The router's rules: everything is dropped but tcp/21 and what a helper made related"
nft list table inet vm | grep -E 'policy|ct |tcp' | sed 's/^\t*/    /'
conntrack -E expect >/run/expect.log 2>/dev/null & watcher=$!
sleep 0.5

move() {   # words, host, case
    step "$1"
    run "curl ftp://$2/file   ($3)"
    local why
    if why=$(transfer curl client "$2" "$3" 25); then
        expectations
        good "200000 bytes arrived, every one as it was sent"
    else
        expectations
        bad "$why"
    fi
}
move 'IPv4, passive: the client connects to a port that the server announced' 10.0.2.2 pasv
move 'IPv4, active: the server connects to the hidden client, at the port the router announced for it' 10.0.2.2 port
move 'IPv6, passive' fd00:2::2 epsv
# An address of another length: rewritten and every later sequence number adjusted, as the kernel alone cannot.
move 'IPv6, active: the address in the line changes its length' fd00:2::2 eprt

if [ $source = ours ]; then
    step "One control connection; between its two transfers the worker is killed with SIGSEGV"
    run "kill -SEGV $worker"
    if why=$(ip netns exec client "$REPO/tests/vm/guest/ftp-session.py" 10.0.2.2 active \
        "$REPO/tests/vm/guest/kill-worker.sh" SEGV 2>&1); then
        expectations
        good "the next transfer of the same control connection worked: its state lies in the kernel"
    else
        expectations
        bad "$why"
    fi
    wait_for 10 ours_serving || bad "does not serve again"
    printf 'in the audit log:\n'; grep -E '"worker_crashed"' "$VM_OUT/audit.jsonl" | tail -n 1 | cut -c1-600 | as_is
    good "worker $worker is gone, worker $(ours_worker) serves"
    step "What the operator sees"
    run "cthelperctl status"
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN status | as_is
    run "kill -TERM $SOURCE_PID   (drain, disable, exit)"
fi
kill $watcher
source_stop && good "stopped cleanly" || bad "no clean stop"
exit $failed
