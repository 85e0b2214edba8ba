#!/bin/bash
# events-two.sh: the case of 2008. Two consumers at the same time, each with its own filter and identity: a log of FTP connections, and a
# replication program in C on libnetfilter_conntrack that wants what is established and what ends. Beside them a third queue that a
# firewall rule fills, and conntrack(8) itself, whose lines ours are compared with. Lines as ftp-matrix.sh prints them, with
# `ours-events-two` as label. Sourced, it only defines `events_two`; an FTP server that is there ends.
. "$REPO/tests/vm/guest/ftp-matrix.sh"
TWO=$VM_OUT/events-two TWO_GUEST=$REPO/tests/vm/guest/events

events_two() {
    good=0 total=0
    rm -rf "$TWO"; mkdir -p "$TWO"; chmod 777 "$TWO"
    modprobe -a nf_tables nft_ct nf_conntrack_netlink xt_connlabel xt_CONNMARK xt_connmark xt_conntrack 2>/dev/null
    topology_clear; server_evict server
    local acct; acct=$(sysctl -n net.netfilter.nf_conntrack_acct)
    sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_events=1
    two_config >"$TWO/cthelperd.toml"
    two_verdict consumer-in-c cc -Wall -Werror -o "$TWO/consumer" "$REPO/packaging/examples/events-consumer.c" -lnetfilter_conntrack
    if CTHELPERD_WHAT="--config $TWO/cthelperd.toml" source_start ours; then
        two_rules
        two_traffic
        two_judge
        two_refusals
    else
        result ours-events-two start "did not come up: $(tail -n 1 "$VM_OUT/cthelperd.log")"
    fi
    source_stop
    sysctl -qw net.netfilter.nf_conntrack_acct="$acct"
    summary ours-events-two
}

two_config() {
    cat <<'CONF'
[helper.ftp]
[events.queue.1]
events = ["new", "destroy"]
filter = "proto tcp and dport 21"
users = [1001]
[events.queue.2]
events = ["update", "destroy"]
filter = "proto tcp and (state established or event destroy) and not addr 10.0.2.254"
users = [1002]
format = "raw"
[events.queue.3]
select = { label = 3 }
format = "json"
[events.queue.4]
[events.queue.5]
select = { mark = "0x50/0xf0" }
CONF
}

two_ctl() { timeout 60 "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN "$@"; }
# In the background: exec, so that $! names the program.
two_as() { local uid=$1; shift; exec setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"; }
two_reader() { local uid=$1; shift; two_as "$uid" "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events "$@"; }
# NAME COMMAND...: what it says is the reason if it fails.
two_verdict() {
    local name=$1 said; shift
    if said=$("$@" 2>&1); then said=''; else said=${said:-status $?}; fi
    result ours-events-two "$name" "$(tr '\n' '|' <<<"${said:0:600}" | sed 's/|*$//')"
}
two_serving() { grep -q "^cthelperd_broker_subscribers $1\$" <(two_ctl metrics); }

# Rules as they are printed are loaded as they are printed; then narrowed as their heading says.
two_rules() {
    local queue config=$TWO/cthelperd.toml
    for queue in 3 5; do
        two_verdict "rules-nft-$queue" eval "two_ctl rules events $queue --config $config | nft -f -"
        two_verdict "rules-nft-again-$queue" eval "two_ctl rules events $queue --config $config | nft -f -"
        two_verdict "rules-iptables-$queue" eval "two_ctl rules events $queue --iptables --config $config | bash -e 2>&1"
    done
    nft list ruleset >"$TWO/ruleset" 2>/dev/null
    iptables -t mangle -F; ip6tables -t mangle -F; nft flush ruleset
    two_verdict rules-narrowed-3 eval "two_ctl rules events 3 --config $config | sed 's/ct state new ct label/ct state new tcp dport 80 ct label/' | nft -f -"
    two_verdict rules-narrowed-5 eval "two_ctl rules events 5 --config $config | nft -f -"
}

# Ten connections to each port, both families, ended by the clients; and datagrams, which neither of the two wants.
two_traffic() {
    local pids=() count conntrack serving
    two_reader 1001 --queue 1 >"$TWO/log" 2>"$TWO/log.err" & pids+=($!)
    two_as 1002 "$TWO/consumer" $CTHELPERD_RUN/events.sock 2 >"$TWO/replication" 2>"$TWO/replication.err" & pids+=($!)
    two_reader 0 --queue 3 >"$TWO/labelled" 2>"$TWO/labelled.err" & pids+=($!)
    two_reader 0 --queue 4 >"$TWO/all" 2>"$TWO/all.err" & pids+=($!)
    two_reader 0 --queue 4 --count >"$TWO/count" 2>"$TWO/count.err" & count=$!
    LC_ALL=C conntrack -E >"$TWO/conntrack" 2>"$TWO/conntrack.err" & conntrack=$!
    wait_for 20 two_serving 5 || result ours-events-two subscribed "$(two_ctl metrics | grep '^cthelperd_broker_subscribers')"
    wait_for 20 grep -q ' 12 .* 00000007 ' /proc/net/netlink   # conntrack(8) has joined its three groups
    ip netns exec server /usr/bin/python3 "$TWO_GUEST/two.py" serve & serving=$!
    wait_for 10 eval 'ip netns exec server ss -Hltn | grep -q ":80 "'
    two_verdict traffic ip netns exec client /usr/bin/python3 "$TWO_GUEST/two.py" make
    sleep 1
    conntrack -F >/dev/null 2>&1      # ends them all: DESTROY, caused by a program
    two_quiet "$TWO/all" "$TWO/conntrack" "$TWO/replication"
    kill -TERM $count "${pids[@]}"; kill -INT $conntrack; kill $serving
    wait $count $conntrack $serving "${pids[@]}" 2>/dev/null
}
# Nothing more comes to these files.
two_quiet() {
    local before='' now
    while now=$(stat -c %s "$@" | tr '\n' ' '); [ "$now" != "$before" ]; do before=$now; sleep 1.5; done
}

two_lines() { [ "$(grep -c -- "$2" "$1")" = "$3" ] || { echo "$(grep -c -- "$2" "$1") lines with '$2', not $3:"; head -n 5 "$1"; return 1; }; }
two_none() { ! grep -m 5 "$@"; }

two_judge() {
    local established; established=$(grep -c '^ \[UPDATE\] tcp .* ESTABLISHED ' "$TWO/conntrack")
    two_verdict log-has-each-birth two_lines "$TWO/log" '^    \[NEW\] .* dport=21 ' 10
    two_verdict log-has-each-end two_lines "$TWO/log" '^\[DESTROY\] .* dport=21 ' 10
    two_verdict log-has-nothing-else two_lines "$TWO/log" '' 20
    two_verdict replication-has-each-end two_lines "$TWO/replication" '^\[DESTROY\] tcp ' 20
    two_verdict replication-has-each-handshake two_lines "$TWO/replication" '^ \[UPDATE\] tcp .* ESTABLISHED ' "$established"
    two_verdict replication-has-nothing-else two_none -vE '^(\[DESTROY\] tcp | \[UPDATE\] tcp .* ESTABLISHED )' "$TWO/replication"
    two_verdict labelled-by-rule two_lines "$TWO/labelled" '"event":"destroy".*"orig":{[^}]*"dport":80[,}]' 10
    two_verdict labelled-has-nothing-else two_none -v '"orig":{[^}]*"dport":80[,}]' "$TWO/labelled"
    # The name of the program that caused an event is looked for by conntrack(8) alone.
    sed 's/ progname=.*//' "$TWO/conntrack" | sort >"$TWO/theirs"; grep -v proto= "$TWO/all" | sort >"$TWO/ours"
    two_verdict lines-are-those-of-conntrack diff "$TWO/theirs" "$TWO/ours"
    two_verdict nothing-was-lost two_none -h '^#' "$TWO/log" "$TWO/all"
    two_verdict replication-is-content two_none . "$TWO/replication.err"
    two_verdict count-lost-nothing grep 'lost 0  gaps 0' "$TWO/count"
    two_verdict count-is-complete eval '[ "$(awk "\$1 == \"new\" {print \$2}" "$TWO/count")" = "$(grep -c NEW "$TWO/conntrack")" ]'
}

# WANTED WORDS COMMAND...: it ends with this status and says these words.
two_says() {
    local wanted=$1 words=$2 got said; shift 2
    said=$("$@" 2>&1 </dev/null); got=$?
    [ $got = "$wanted" ] && grep -q -- "$words" <<<"$said" || { echo "status $got: $said"; return 1; }
}
two_once() { setpriv --reuid "$1" --regid "$1" --clear-groups timeout 20 "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events "${@:2}"; }
two_refusals() {
    two_verdict a-stranger-is-refused two_says 77 'not allowed to read event queue 1' two_once 1003 --queue 1
    two_verdict the-others-queue-is-refused two_says 77 'not allowed' two_once 1002 --queue 1
    two_verdict an-unknown-queue-is-said two_says 66 'no event queue 99, only 1, 2, 3, 4, 5' two_ctl events --queue 99
    two_verdict a-closed-pipe-ends-it eval 'two_ctl events --queue 4 | true'
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    : >"$VM_OUT/results"
    topology_build
    events_two
    [ $good -eq $total ]
fi
