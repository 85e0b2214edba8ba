#!/bin/bash
# events-two.sh: the case of 2008. Two consumers at the same time, each with its own filter and identity: a log of FTP connections, and a
# replication program in C on libnetfilter_conntrack that wants what is established and what ends. Beside them a third queue that a
# firewall rule fills, and conntrack(8) itself, whose lines ours are compared with. One line per verdict; status 1 if any fails.
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
ctl() { "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN "$@"; }
as() { local uid=$1; shift; setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@"; }
failed=0
verdict() {   # name, command...
    local name=$1; shift
    if "$@" >"$VM_OUT/verdict" 2>&1; then echo "ok      $name"; else echo "FAILED  $name"; sed 's/^/        /' "$VM_OUT/verdict" | tail -n 20; failed=1; fi
}
out=$VM_OUT/events
rm -rf "$out"; mkdir -p "$out"; chmod 777 "$out"

topology_build
modprobe -a nf_tables nft_ct nf_conntrack_netlink xt_connlabel xt_CONNMARK xt_connmark xt_conntrack 2>/dev/null
sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_events=1
cc -Wall -Werror -o "$out/consumer" "$REPO/packaging/examples/events-consumer.c" -lnetfilter_conntrack || exit
cat >"$out/cthelperd.toml" <<'CONF'
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
CTHELPERD_ARGS="--config $out/cthelperd.toml" source_start ours || { echo "cthelperd did not come up"; tail "$VM_OUT/cthelperd.log"; exit 1; }

# Rules as they are printed are loaded as they are printed; then narrowed as their heading says.
for queue in 3 5; do
    verdict "rules-nft-$queue" eval "ctl rules events $queue --config $out/cthelperd.toml | nft -f -"
    verdict "rules-nft-again-$queue" eval "ctl rules events $queue --config $out/cthelperd.toml | nft -f -"
    verdict "rules-iptables-$queue" eval "ctl rules events $queue --iptables --config $out/cthelperd.toml | bash -e"
done
nft list ruleset >"$out/ruleset"
iptables -t mangle -F; ip6tables -t mangle -F; nft flush ruleset
ctl rules events 3 --config "$out/cthelperd.toml" | sed 's/ct state new ct label/ct state new tcp dport 80 ct label/' | nft -f - || failed=1
ctl rules events 5 --config "$out/cthelperd.toml" | nft -f - || failed=1

as 1001 "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 1 >"$out/log" 2>"$out/log.err" &
as 1002 "$out/consumer" $CTHELPERD_RUN/events.sock 2 >"$out/replication" 2>"$out/replication.err" &
ctl events --queue 3 >"$out/labelled" 2>"$out/labelled.err" &
ctl events --queue 4 >"$out/all" 2>"$out/all.err" &
# Not by `ctl`: a function in the background is a shell of its own, which a signal would end in place of the program.
"$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 4 --count >"$out/count" 2>"$out/count.err" & count=$!
LC_ALL=C conntrack -E >"$out/conntrack" 2>"$out/conntrack.err" & conntrack=$!
sleep 2

# Ten connections to each port, both families, ended by the clients; and datagrams, which neither of the two wants.
cat >"$out/traffic.py" <<'PY'
import socket, subprocess, sys
if sys.argv[1] == "serve":
    import selectors
    waiting = selectors.DefaultSelector()
    for port in (21, 80):
        for family, host in ((socket.AF_INET, "10.0.2.2"), (socket.AF_INET6, "fd00:2::2")):
            waiting.register(socket.create_server((host, port), family=family), selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if isinstance(key.data, str):
                key.fileobj.recv(9); waiting.unregister(key.fileobj); key.fileobj.close()
            else:
                waiting.register(key.fileobj.accept()[0], selectors.EVENT_READ, "client")
for host in ("10.0.2.2", "fd00:2::2"):
    for port in (21, 80):
        for _ in range(5):
            socket.create_connection((host, port), timeout=20).close()
    socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (host, 9))
PY
ip netns exec server /usr/bin/python3 "$out/traffic.py" serve & serving=$!
sleep 2
verdict traffic ip netns exec client /usr/bin/python3 "$out/traffic.py" make
sleep 1
conntrack -F >/dev/null 2>&1      # ends them all: DESTROY, caused by a program
sleep 2
kill -TERM $count; kill -INT $conntrack; kill $serving; wait $count $conntrack 2>/dev/null

lines() { [ "$(grep -c -- "$2" "$1")" = "$3" ] || { echo "$(grep -c -- "$2" "$1") lines with '$2', not $3:"; head -n 5 "$1"; return 1; }; }
verdict log-has-each-birth lines "$out/log" '^    \[NEW\] .* dport=21 ' 10
verdict log-has-each-end lines "$out/log" '^\[DESTROY\] .* dport=21 ' 10
verdict log-has-nothing-else lines "$out/log" '' 20
verdict replication-has-each-end lines "$out/replication" '^\[DESTROY\] tcp ' 20
verdict replication-has-each-handshake lines "$out/replication" '^ \[UPDATE\] tcp .* ESTABLISHED ' "$(grep -c '^ \[UPDATE\] tcp .* ESTABLISHED ' "$out/conntrack")"
verdict replication-has-nothing-else eval "! grep -vE '^(\[DESTROY\] tcp | \[UPDATE\] tcp .* ESTABLISHED )' '$out/replication'"
verdict labelled-by-rule lines "$out/labelled" '"event":"destroy".*"orig":{[^}]*"dport":80[,}]' 10
verdict labelled-has-nothing-else eval "! grep -v '\"orig\":{[^}]*\"dport\":80[,}]' '$out/labelled'"
# The name of the program that caused an event is looked for by conntrack(8) alone.
verdict lines-are-those-of-conntrack diff <(sed 's/ progname=.*//' "$out/conntrack" | sort) <(grep -v proto= "$out/all" | sort)
verdict nothing-was-lost eval "! grep -h '^#' '$out/log' '$out/all' && ! grep . '$out/replication.err' && grep 'lost 0  gaps 0' '$out/count'"
verdict count-is-complete eval "grep -E '^new ([0-9]+)  .*destroy [0-9]+ ' '$out/count' && [ \$(awk '{print \$2}' '$out/count') = \$(grep -c NEW '$out/conntrack') ]"

status() { local wanted=$1 words=$2 got; shift 2; timeout 20 "$@" >"$out/said" 2>&1; got=$?; cat "$out/said"; [ $got = "$wanted" ] && grep -q -- "$words" "$out/said"; }
verdict a-stranger-is-refused status 77 'not allowed to read event queue 1' as 1003 "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 1
verdict the-others-queue-is-refused status 77 'not allowed' as 1002 "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN events --queue 1
verdict an-unknown-queue-is-said status 66 'no event queue 99, only 1, 2, 3, 4, 5' ctl events --queue 99
verdict a-closed-pipe-ends-it eval "timeout 20 bash -c '\"$BIN/cthelperctl\" --runtime-dir $CTHELPERD_RUN events --queue 4 | true'"
cp "$VM_OUT/cthelperd.log" "$out/" 2>/dev/null
jobs -p | xargs -r kill 2>/dev/null
source_stop
exit $failed
