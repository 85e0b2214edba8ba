#!/bin/bash
# outside.sh: helpers out of the tree, `dial` in Rust (tests/outside) and in C (tests/outside-c), each served by one line of configuration.
#
# Announced connections over IPv4 and IPv6, with and without NAT, behind rules that drop by default; an announcement that segments cut, two for
# one port at the same time (under NAT the second is rewritten, and the stream goes on), one that is refused; the worker is killed between two
# calls of a control connection. Lines as ftp-matrix.sh prints them. Sourced, it only defines `outside`.
. "$REPO/tests/vm/guest/ftp-matrix.sh"

OUTSIDE_RUN=/run/outside
outside_peer() { ip netns exec $1 /usr/bin/python3 "$REPO/tests/vm/guest/outside-peer.py" "${@:2}"; }

# outside_cases LANGUAGE NAT
outside_cases() {
    local name why moved=yes
    [ $2 = none ] && moved=no
    outside_peer client client $(topology_target $2 4) $(topology_target $2 6) 8 $moved >$OUTSIDE_RUN/said
    while read -r name why; do result ours-outside "$1-$name-$2" "${why#ok}"; done <$OUTSIDE_RUN/said
}

# Kills the worker that serves while both control connections stand.
outside_killed() {
    local name why pid caller before
    before=$(wc -l <"$VM_OUT/audit.jsonl")
    rm -f $OUTSIDE_RUN/go; mkfifo $OUTSIDE_RUN/go
    outside_peer client client $(topology_target dnat 4) $(topology_target dnat 6) 8 yes wait <$OUTSIDE_RUN/go >$OUTSIDE_RUN/said & caller=$!
    exec 9>$OUTSIDE_RUN/go
    wait_for 30 grep -q ready $OUTSIDE_RUN/said
    pid=$(ours_worker)
    kill -KILL $pid && wait_for 20 _gone $pid
    echo go >&9; exec 9>&-
    wait $caller
    while read -r name why; do result ours-outside "$1-$name" "${why#ok}"; done < <(grep '^killed' $OUTSIDE_RUN/said)
    why=''
    wait_for 10 ours_serving || why='nobody serves'
    ours_status | grep -q '"restarts":1' || why="${why:-the status has no restart}"
    tail -n +$((before + 1)) "$VM_OUT/audit.jsonl" | grep -q '"worker_crashed".*"helper":"dial".*SIGKILL' ||
        why="${why:-no record of its end}"
    result ours-outside "$1-restarted" "$why"
}

# What the kernel says of the worker that serves, and what `cthelperctl helpers` says of its helper.
outside_confined() {
    local pid status why=''
    pid=$(ours_worker); status=/proc/$pid/status
    grep -q $'^Seccomp:\t2' $status && grep -q $'^CapBnd:\t0000000000000000' $status || why='not confined'
    grep -q $'^Uid:\t0' $status && why='runs as root'
    "$BIN/cthelperctl" helpers --config $OUTSIDE_RUN/outside.toml | grep -q "^dial .* 4242 .* 2 tcp 30 s .* rewrites .* $2\$" ||
        why="${why:-cthelperctl helpers does not list it}"
    result ours-outside "$1-confined" "$why"
}

# outside_helper LANGUAGE PROGRAM
outside_helper() {
    local nat program=/usr/local/libexec/cthelper-dial-$1   # where everybody may execute it, wherever the repository is
    install -D "$2" $program
    printf '[helper.dial]\nworker = "%s"\n' $program >$OUTSIDE_RUN/outside.toml
    if ! CTHELPERD_WHAT="--config $OUTSIDE_RUN/outside.toml" source_start ours; then
        result ours-outside $1-start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"
        source_stop; return
    fi
    outside_confined $1 $program
    for nat in none snat dnat; do
        topology_rules $nat dial || { result ours-outside "$1-rules-$nat" 'nft refused the rules'; continue; }
        outside_cases $1 $nat
    done
    outside_killed $1
    ours_status >"$VM_OUT/outside-$1-status.json"
    source_stop || result ours-outside $1-stop 'it did not end by itself'
}

outside() {
    local begin=$SECONDS peer
    good=0 total=0
    mkdir -p $OUTSIDE_RUN
    outside_peer server server 10.0.2.2 fd00:2::2 >"$VM_OUT/outside-peer.log" 2>&1 & peer=$!
    if wait_for 20 grep -q ready "$VM_OUT/outside-peer.log"; then
        outside_helper rust "$REPO/target/vm/bin/dial-rust"
        outside_helper c "$REPO/target/vm/bin/dial-c"
    else
        result ours-outside peer 'did not come up'
    fi
    kill $peer; for peer in $(ip netns pids server); do kill $peer 2>/dev/null; done
    summary ours-outside
    echo "outside: $((SECONDS - begin)) s"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    : >"$VM_OUT/results"
    topology_build
    outside
    [ $good -eq $total ]
fi
