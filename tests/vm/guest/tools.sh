#!/bin/bash
# tools.sh [BIN]: cthelperctl beside the programs it stands in for, on this kernel. BIN: folder of the programs
# (default target/release). A line per case; what differs is in VM_OUT/tools.*.
. "$REPO/tests/vm/guest/ftp-matrix.sh"
TOOLS=$REPO/tests/vm/guest/tools

tools() {
    local begin=$SECONDS
    good=0 total=0
    topology_clear
    tools_nfct
    tools_nfct_there
    tools_import
    tools_names
    tools_expect
    tools_rules
    tools_local
    tools_doctor
    tools_registry
    echo "tools: $((SECONDS - begin)) s"
    summary ours-tools
}

# same CASE FILE FILE: both are alike, or the first line that is not.
same() {
    local differs
    differs=$(diff "$2" "$3" | grep '^[<>]' | head -n 2 | tr '\n' ' ')
    result ours-tools "$1" "$differs"
}

# Every line of nfct-lines with the nfct of conntrack-tools and with ours: words, status, and what the kernel then has.
tools_nfct() {
    mkdir -p /run/tools-nfct
    ln -sf "$BIN/cthelperctl" /run/tools-nfct/nfct
    modprobe -a nfnetlink_cthelper nfnetlink_cttimeout
    _nfct_all "$PATH" >"$VM_OUT/tools.nfct.theirs" 2>&1
    _nfct_all "/run/tools-nfct:$PATH" >"$VM_OUT/tools.nfct.ours" 2>&1
    same nfct "$VM_OUT/tools.nfct.theirs" "$VM_OUT/tools.nfct.ours"
    result ours-tools nfct-lines "$([ "$(grep -c '^=> 0' "$VM_OUT/tools.nfct.theirs")" -ge 60 ] || echo "nfct itself hardly ran")"
}
# What is there with classes of its own: nfct has the kernel's answer (newer ones blame a module), ours says what is so, and leaves alone what is
# served.
tools_nfct_there() {
    local ctl="$BIN/cthelperctl nfct" said
    /usr/bin/python3 "$TOOLS/odd-helper.py" tftp || { result ours-tools nfct-there 'the kernel refuses it'; return; }
    said=$(/usr/sbin/nfct add helper tftp inet udp 2>&1); said="$? $(head -n 1 <<<"$said")"
    case $said in '1 nfct v'*': netlink error: Device or resource busy') said='' ;; esac
    result ours-tools nfct-there-theirs "$said"
    said=$($ctl add helper tftp inet udp 2>&1); said="$? $(tail -n 1 <<<"$said")"
    case $said in "1 Maybe 'nfct delete helper tftp' first"*) said='' ;; esac
    result ours-tools nfct-there "$said"
    /usr/bin/python3 "$TOOLS/odd-helper.py" tftp 1
    said=$($ctl add helper tftp inet udp 2>&1 && /usr/sbin/nfct get helper tftp | grep -c 'status = enabled')
    [ "$said" = 1 ] && said=''
    result ours-tools nfct-there-served "$said"
    /usr/sbin/nfct flush helper
}
# In a namespace of its own, for the timeouts; the helpers are the machine's, and flushed first.
_nfct_all() {
    /usr/sbin/nfct helper flush
    PATH=$1 ip netns exec client bash -c '
        while read -r line; do
            case $line in "#"*) continue ;; esac
            echo "\$ nfct $line"
            eval "nfct $line" 2>&1; echo "=> $?"
            case $line in l\ *|list*|get*|default-g*) continue ;; esac
            { /usr/sbin/nfct timeout list; /usr/sbin/nfct helper list; } | cksum
        done <"$0"' "$TOOLS/nfct-lines" | sed 's/^nfct v[^ ]*: /nfct vV: /'
    # As they were, for the next one.
    ip netns exec client nfct flush timeout
    ip netns exec client nfct default-set timeout inet tcp established 432000
    ip netns exec client nfct default-set timeout inet udp unreplied 30 replied 120
    /usr/sbin/nfct helper flush
}

# conntrackd takes the files that `import` takes and refuses those that it refuses; where it says what a policy is, that was imported.
tools_import() {
    local file name theirs ours policy
    for file in "$TOOLS"/conntrackd/*.conf; do
        name=$(basename $file .conf)
        { cat $file; printf 'General { HashSize 512\nHashLimit 1024\nSyslog no\nLogFile off\nLockFile /run/c.lock\nUNIX { Path /run/c.ctl } }\n'; } >/run/c.conf
        timeout 2 ip netns exec client conntrackd -C /run/c.conf >/run/c.said 2>&1
        theirs=refused; grep -q 'configuring helper' /run/c.said && theirs=accepted
        "$BIN/cthelperctl" import $file >/run/c.toml 2>/run/c.remarks
        case $? in 0) ours=accepted ;; 78) ours=refused ;; *) ours="status $?" ;; esac
        [ $ours != accepted ] || "$BIN/cthelperd" check --config /run/c.toml || ours='not a configuration'
        policy=$(sed -n 's/.*expect_timeout=\([1-9][0-9]*\) expect_max=\([0-9]*\)/expect_max = \2\nexpect_timeout = "\1s"/p' /run/c.said | head -n 2)
        if grep -q expect_timeout /run/c.toml && ! grep -zqF "$policy" /run/c.toml; then ours='another policy'; fi
        if [ ${name%%-*} = $theirs ] && [ "$ours" = $theirs ]; then result ours-tools import-$name ''
        else result ours-tools import-$name "conntrackd: $theirs, import: $ours"; fi
    done
    "$BIN/cthelperctl" nfct flush helper
}

# Names of any bytes, made by nfct and by a program of its own: listed, shown without moving the cursor, deleted by what is shown.
tools_names() {
    local ctl="ip netns exec client $BIN/cthelperctl nfct" odd=$'o\xffd\x1b[2J' shown='o\xffd\x1b[2J' said
    ip netns exec client nfct timeout add "$odd" inet udp replied 20
    said=$($ctl list timeout | head -n 1)
    if [ "$said" = ".$shown = {" ]; then result ours-tools names-timeout ''; else result ours-tools names-timeout "$(cat -v <<<"$said")"; fi
    $ctl delete timeout "$shown" && [ -z "$(ip netns exec client nfct list timeout)" ] && said='' || said='it is still there'
    result ours-tools names-timeout-delete "$said"
    $ctl add timeout "$odd" inet udp replied 20 && ip netns exec client nfct get timeout "$odd" >/dev/null && said='' || said='nfct does not find it'
    result ours-tools names-timeout-add "$said"
    ip netns exec client nfct flush timeout
    /usr/bin/python3 "$TOOLS/odd-helper.py" || { result ours-tools names-helper 'the kernel refuses the name'; return; }
    said=$("$BIN/cthelperctl" nfct list helper | sed -n 's/^\t.name = \(.*\),$/\1/p')
    if [ "$said" = "$shown" ]; then result ours-tools names-helper ''; else result ours-tools names-helper "$(cat -v <<<"$said")"; fi
    said=$("$BIN/cthelperctl" doctor --json | /usr/bin/python3 -c '
import json, sys
shown = [finding["what"] for finding in json.load(sys.stdin)["findings"]]
print("" if any(sys.argv[1] in what for what in shown) else shown)' "$shown")
    result ours-tools names-doctor "$said"
    "$BIN/cthelperctl" nfct delete helper "$shown" && [ -z "$(nfct list helper)" ] && said='' || said='it is still there'
    result ours-tools names-helper-delete "$said"
}

# Expectations of several kinds come and go while conntrack and cthelperctl watch; both list them. What they print is the same.
tools_expect() {
    local form pids=() master
    modprobe -a nf_conntrack_sane nft_ct nf_conntrack_netlink
    ip netns exec client sysctl -qw net.netfilter.nf_conntrack_events=1
    ip netns exec client nft -f "$TOOLS/expectations.nft" || { result ours-tools expect-rules 'nft refused the rules'; return; }
    for form in '' '-o timestamp' '-o xml' '-o xml,timestamp'; do
        ip netns exec client stdbuf -oL conntrack -E expect $form >"/run/watch.theirs$form" 2>/dev/null & pids+=($!)
        ip netns exec client "$BIN/cthelperctl" expect watch $form >"/run/watch.ours$form" 2>/run/watch.words & pids+=($!)
    done
    sleep 2
    ip netns exec client /usr/bin/python3 "$TOOLS/master.py" & master=$!
    wait_for 10 _expected 4 || result ours-tools expect-made "$(ip netns exec client conntrack -C expect) of 4"
    for form in '-f ipv4' '-f ipv6' '-f ipv4 -o xml' '-f ipv6 -o xml' '-f ipv4 -o id,extended' '-f ipv4 -o xml,timestamp' '-f ipv6 -o Time' \
        '-f ipv4 -o x,labels,ktimestamp,userspace' '-f ipv6 -o save'; do
        ip netns exec client conntrack -L expect $form 2>/dev/null | _timeless >/run/list.theirs
        ip netns exec client "$BIN/cthelperctl" expect list $form 2>/dev/null | _timeless >/run/list.ours
        same "expect-list${form// /}" /run/list.theirs /run/list.ours
    done
    ip netns exec client "$BIN/cthelperctl" expect delete udp 127.0.0.1:0 127.0.0.1:99
    ip netns exec client "$BIN/cthelperctl" expect delete udp '[::1]:0' '[::1]:99'
    if _expected 2; then result ours-tools expect-delete ''; else result ours-tools expect-delete 'two are to be left'; fi
    ip netns exec client "$BIN/cthelperctl" expect delete udp 127.0.0.1:0 127.0.0.1:99 2>/dev/null
    case $? in 66) result ours-tools expect-delete-none '' ;; *) result ours-tools expect-delete-none "status $?" ;; esac
    ip netns exec client "$BIN/cthelperctl" expect flush 2>/dev/null
    if _expected 0; then result ours-tools expect-flush ''; else result ours-tools expect-flush 'not empty'; fi
    sleep 1
    kill -INT "${pids[@]}" $master; wait "${pids[@]}" $master
    sed -i 's/<when>.*<wday>/<when>TIME<wday>/' "/run/watch.theirs-o xml,timestamp" "/run/watch.ours-o xml,timestamp"
    for form in '' '-o xml' '-o xml,timestamp'; do same "expect-watch${form// /}" "/run/watch.theirs$form" "/run/watch.ours$form"; done
    sed 's/^\[[0-9]\{10\}\.[0-9]\{1,6\} *\]\t/STAMP\t/' "/run/watch.theirs-o timestamp" >/run/stamps.theirs
    sed 's/^\[[0-9]\{10\}\.[0-9]\{1,6\} *\]\t/STAMP\t/' "/run/watch.ours-o timestamp" >/run/stamps.ours
    same expect-watch-stamped /run/stamps.theirs /run/stamps.ours
    form=$(wc -l </run/watch.ours)
    if [ "$form" -ge 8 ]; then result ours-tools expect-watch-events ''; else result ours-tools expect-watch-events "$form events"; fi
    _flooded
    ip netns exec client nft flush ruleset
    modprobe -r nf_conntrack_sane
}
# More events than its buffer holds while it stands still: that is said, and it goes on.
_flooded() {
    local watcher
    ip netns exec client nft flush ruleset
    sed 's/tcp sport 40001 ct expectation/ct state new tcp dport 6566 ct expectation/' "$TOOLS/expectations.nft" | ip netns exec client nft -f -
    ip netns exec client "$BIN/cthelperctl" expect watch >/run/flood.events 2>/run/flood.words & watcher=$!
    sleep 1; kill -STOP $watcher
    ip netns exec client /usr/bin/python3 -c '
import socket
for _ in range(8000):
    with socket.socket() as s: s.connect_ex(("127.0.0.1", 6566))'
    kill -CONT $watcher
    wait_for 20 grep -q 'some are lost' /run/flood.words
    ip netns exec client /usr/bin/python3 -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 6566))'
    sleep 2; kill -INT $watcher; wait $watcher
    case $?:$(grep -c 'some are lost' /run/flood.words):$(sed -n 's/.*: \([0-9]*\) expectation events .*/\1/p' /run/flood.words) in
        0:[1-9]*:[1-9]???*) result ours-tools expect-flooded '' ;;
        *) result ours-tools expect-flooded "$(tr '\n' ' ' </run/flood.words)" ;;
    esac
}
_expected() {
    local family count=0
    for family in ipv4 ipv6; do count=$((count + $(ip netns exec client conntrack -L expect -f $family 2>/dev/null | wc -l))); done
    [ $count = "$1" ]
}
# Seconds go on between two lists.
_timeless() {
    sed 's/^\[[0-9]\{10\}\.[0-9]\{1,6\} *\]\t/STAMP\t/; s/^\(STAMP\t\)\?[0-9]* proto/\1S proto/; s/<timeout>[0-9]*</<timeout>S</
        s/<when>.*<wday>/<when>TIME<wday>/'
}

# Rules load as they are printed, for what the daemon serves; --apply keeps them over a stop, --remove does away with them.
tools_rules() {
    local ctl="$BIN/cthelperctl --runtime-dir $CTHELPERD_RUN" said keep=/run/tools-keep
    mkdir -p $keep
    CTHELPERD_WHAT='--helper ftp --helper tftp --helper rpc' source_start ours || { result ours-tools rules-start "$(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    modprobe -a nft_ct xt_CT xt_helper xt_conntrack ip_tables ip6_tables iptable_raw ip6table_raw 2>/dev/null
    for said in '' --output '--family inet6' '--helper ftp --ports 21,2121 --output' '--helper rpc --protocol udp'; do
        $ctl rules nft $said >/run/rules.nft && nft -f /run/rules.nft 2>/run/rules.why && nft -f /run/rules.nft && : >/run/rules.why
        result ours-tools "rules-nft${said// /}" "$(head -n 1 /run/rules.why)"
        $ctl rules iptables $said >/run/rules.sh && bash -e /run/rules.sh 2>/run/rules.why && : >/run/rules.why
        result ours-tools "rules-iptables${said// /}" "$(head -n 1 /run/rules.why)"
    done
    $ctl rules nft >/run/rules.nft; nft -f /run/rules.nft
    said=$(nft list table inet cthelperd | grep -c 'ct helper set')
    if [ "$said" = 8 ]; then result ours-tools rules-served ''; else result ours-tools rules-served "$said rules, 8 for ftp, tftp and rpc over both"; fi
    said=$(nft list table inet cthelperd | sed -n 's/.*priority \(-[0-9]*\|raw [+-] [0-9]*\|mangle\|dstnat - [0-9]*\).*/\1/p' | head -n 1)
    case $said in -150|mangle) result ours-tools rules-priority '' ;; *) result ours-tools rules-priority "priority $said" ;; esac
    nft delete table inet cthelperd; ip6tables -t raw -F; iptables -t raw -F
    $ctl rules nft --apply --state-dir $keep --output && nft list table inet cthelperd >/dev/null && [ -s $keep/rules.nft ] && said='' || said='not applied'
    result ours-tools rules-apply "$said"
    $ctl rules kept unload && ! nft list table inet cthelperd 2>/dev/null && said='' || said='there after a stop'
    result ours-tools rules-stop "$said"
    $ctl rules kept load --state-dir $keep && nft list table inet cthelperd >/dev/null && said='' || said='not there after a start'
    result ours-tools rules-next-start "$said"
    $ctl rules nft --remove --state-dir $keep && ! nft list table inet cthelperd 2>/dev/null && [ ! -e $keep/rules.nft ] && said='' || said='not removed'
    result ours-tools rules-remove "$said"
    said=$($ctl rules nft --helper nosuch --protocol tcp --ports 9 --apply --state-dir $keep 2>&1); said="$?:$said"
    case $said in 69:*'nft refuses the rules: '*registered*) result ours-tools rules-unregistered '' ;; *) result ours-tools rules-unregistered "$said" ;; esac
    [ ! -e $keep/rules.nft ] || result ours-tools rules-unregistered-kept 'what nft refused is kept'
    source_stop || result ours-tools rules-end 'no clean end on SIGTERM'
}

# What `rules --output` prints, and nothing else of helpers, beside rules that drop by default: sessions that the router opens itself.
tools_local() {
    local ctl="$BIN/cthelperctl --runtime-dir $CTHELPERD_RUN" dialect name file
    CTHELPERD_WHAT='--helper ftp --helper tftp' source_start ours || { result ours-tools local-start "$(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    server_start pyftpdlib
    mkdir -p /run/tools-tftp; head -c 20000 /dev/urandom >/run/tools-tftp/file; chmod -R a+rX /run/tools-tftp
    ip netns exec server in.tftpd -L -c -u root -s /run/tools-tftp >/dev/null 2>&1 & local tftpd=$!
    wait_for 20 _tftp_listens
    for dialect in none nft iptables; do
        topology_clear
        iptables -t raw -F 2>/dev/null; ip6tables -t raw -F 2>/dev/null
        nft -f - <<'RULES'
table inet closed {
    chain allowed {
        ct state established,related accept
        ct state new tcp dport 21 accept
        ct state new udp dport 69 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
    }
    chain incoming { type filter hook input priority 0; policy drop; jump allowed; }
    chain outgoing { type filter hook output priority 0; policy drop; jump allowed; }
}
RULES
        case $dialect in
            nft) $ctl rules nft --output | nft -f - ;;
            iptables) $ctl rules iptables --output | bash -e ;;
        esac || { result ours-tools local-$dialect-rules 'refused'; continue; }
        # Without rules nothing comes: so what comes below is the rules' doing.
        if [ $dialect = none ]; then
            transfer curl - 10.0.2.2 pasv 4 >/dev/null && result ours-tools local-none 'came without rules' || result ours-tools local-none ''
            continue
        fi
        for name in 4-pasv 4-port 6-epsv 6-eprt; do
            file=10.0.2.2; [ ${name%-*} = 6 ] && file=fd00:2::2
            transfer curl - $file ${name#*-} 20 >/run/why.local && : >/run/why.local
            result ours-tools local-$dialect-ftp-$name "$(</run/why.local)"
        done
        for name in 10.0.2.2 '[fd00:2::2]'; do
            rm -f /run/tools-tftp.got
            curl -g -sS -m 12 -o /run/tools-tftp.got "tftp://$name/file" 2>/run/why.local && cmp /run/tools-tftp/file /run/tools-tftp.got >/run/why.local 2>&1
            result ours-tools "local-$dialect-tftp-$name" "$(tr '\n' ' ' </run/why.local)"
        done
    done
    kill $tftpd; wait $tftpd 2>/dev/null
    iptables -t raw -F 2>/dev/null; ip6tables -t raw -F 2>/dev/null
    source_stop || result ours-tools local-end 'no clean end on SIGTERM'
}
_tftp_listens() { ip netns exec server ss -Hlun 'sport = 69' | grep -q .; }

# Why a connection was not helped: rules that came too late, none at all, a flowtable that took it, a helper that is switched off, a worker
# that it ended twice, a circuit that is open.
tools_doctor() {
    local listener client
    printf '[helper.ftp]\n[helper.ftp.restart]\nlimit = { burst = 2 }\n' >/run/tools-doctor.toml
    CTHELPERD_WHAT='--config /run/tools-doctor.toml' source_start ours || { result ours-tools doctor-start "$(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    server_stop; server_evict server
    ip netns exec server /usr/bin/python3 "$TOOLS/echo.py" & listener=$!
    wait_for 10 _listening server
    nft flush ruleset
    nft add table inet plain; nft add chain inet plain f '{ type filter hook forward priority 0; ct state new accept; }'   # conntrack is on
    _talks 40001 "no rule attaches ftp" unattached
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN rules nft | nft -f -
    _doctor 40001 'it began before they were loaded' late
    _talks 40002 'has the helper ftp' attached
    _doctor 40009 'is tracked here' absent
    _unhelped
    nft flush ruleset
    modprobe -a nf_flow_table nf_flow_table_inet nft_flow_offload
    nft -f - <<'RULES' || result ours-tools doctor-flowtable 'nft refused the flowtable'
table inet fast {
    flowtable f { hook ingress priority 0; devices = { c0, s0 }; }
    chain forward { type filter hook forward priority 0; ct state established flow add @f; }
}
RULES
    _talks 40003 'is offloaded by a flowtable' offloaded
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor >/run/doctor.log && client='exit status 0'
    grep -q '^FAIL  offload .*inet fast' /run/doctor.log && client='' || client=${client:-$(grep offload /run/doctor.log || echo 'no line about it')}
    result ours-tools doctor-offload "$client"
    kill $(jobs -p | grep -v "^$SOURCE_PID$") 2>/dev/null; wait $listener 2>/dev/null
    source_stop || result ours-tools doctor-end 'no clean end on SIGTERM'
}
# The attached connection, in each state in which its packets pass all the same.
_unhelped() {
    local ctl="$BIN/cthelperctl --runtime-dir $CTHELPERD_RUN" worker
    $ctl disable ftp; _doctor 40002 'which is disabled' disabled
    $ctl enable ftp; _doctor 40002 'has the helper ftp, and' enabled
    for _ in 1 2; do   # It talks on, so a worker that stands still has a packet of it in hand.
        worker=$(ours_worker)
        kill -STOP "$worker"; wait_for 15 _replaced "$worker"
    done
    _doctor 40002 'is left alone for' left-alone
    kill -KILL "$(ours_worker)"; wait_for 15 _tripped
    _doctor 40002 'whose circuit is open' circuit
    $ctl restart ftp; wait_for 15 ours_serving
    _doctor 40002 'is left alone for' left-alone-still
}
# What Debian's own nfct makes of a helper that is served: doctor sees it, `enable` mends it, and neither `reload` nor `restart` does.
tools_registry() {
    local ctl="$BIN/cthelperctl --runtime-dir $CTHELPERD_RUN"
    printf '[helper.ftp]\nclasses.ftp = { expect_max = 4, expect_timeout = "2min" }\nrestart.limit = { burst = 1 }\n' >/run/tools-registry.toml
    CTHELPERD_WHAT='--config /run/tools-registry.toml' source_start ours || { result ours-tools registry-start "$(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    _registered before 'ok .*(inet tcp) is registered with queue'
    /usr/sbin/nfct add helper ftp inet tcp
    _registered limits 'FAIL .*(inet tcp): class ftp: the kernel has expect_max 1, expect_timeout 300 s; cthelperd serves expect_max 4, expect_timeout 120 s'
    $ctl reload >/dev/null; _registered limits-reloaded 'FAIL .*expect_max 1,'
    $ctl restart ftp; wait_for 15 ours_serving; _registered limits-restarted 'FAIL .*expect_max 1,'
    $ctl enable ftp; _registered limits-mended 'ok .*(inet tcp) is registered with queue'
    /usr/sbin/nfct disable helper ftp inet6 tcp
    _registered disabled 'FAIL .*(inet6 tcp): the kernel has it disabled, cthelperd serves it'
    $ctl enable ftp; _registered disabled-mended 'ok .*(inet6 tcp) is registered with queue'
    /usr/sbin/nfct delete helper ftp inet tcp
    _registered deleted 'FAIL .*serves ftp (inet tcp), but the kernel does not have it'
    /usr/sbin/nfct add helper ftp inet tcp
    _registered queue 'FAIL .*(inet tcp): the kernel sends to queue 0, cthelperd serves'
    $ctl enable ftp; _registered queue-mended 'ok .*(inet tcp) is registered with queue'
    /usr/sbin/nfct delete helper ftp
    $ctl enable ftp; _registered deleted-mended 'ok .*(inet6 tcp) is registered with queue'
    _deleted
    source_stop || result ours-tools registry-end 'no clean end on SIGTERM'
}
# Of a helper that somebody has deleted, what is left can be disabled, its circuit opens and closes, and it is made anew.
_deleted() {
    local said worker
    /usr/sbin/nfct delete helper ftp inet tcp
    said=$($ctl disable ftp 2>&1)
    ours_status | grep -q '"state":"disabled"' || said+=' not disabled'
    /usr/sbin/nfct get helper ftp inet6 tcp | grep -q 'status = disabled' || said+=' what is left is not'
    result ours-tools registry-deleted-disable "$said"
    $ctl enable ftp; _registered deleted-disabled-mended 'ok .*(inet tcp) is registered with queue'
    /usr/sbin/nfct delete helper ftp
    worker=$(ours_worker); kill -KILL "$worker"; wait_for 15 _replaced "$worker"; kill -KILL "$(ours_worker)"
    wait_for 15 _tripped; result ours-tools registry-deleted-tripped "$(_tripped || echo 'the circuit is not open')"
    /usr/sbin/nfct add helper ftp inet tcp
    $ctl restart ftp; wait_for 15 ours_serving; _registered deleted-restarted 'ok .*(inet tcp) is registered with queue'
    /usr/sbin/nfct delete helper ftp   # and so it ends
}
# NAME PATTERN: a line of doctor's, whose status is 1 where something fails.
_registered() {
    local said status
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor); status=$?
    grep registered <<<"$said" >>"$VM_OUT/tools.registry"
    case $2 in FAIL*) [ $status = 1 ] || { result ours-tools "registry-$1" "exit status $status"; return; } ;; esac
    if grep -q "^$2" <<<"$said"; then result ours-tools "registry-$1" ''
    else result ours-tools "registry-$1" "$(grep registered <<<"$said" | tr '\n' ' ')"; fi
}
_replaced() { ours_serving && [ "$(ours_worker)" != "$1" ]; }
_tripped() { ours_status | grep -q '"state":"tripped"'; }

# PORT WORDS NAME: opens a connection from that port and keeps it; then as _doctor.
_talks() {
    ip netns exec client /usr/bin/python3 "$TOOLS/echo.py" "$1" 10.0.2.2 &
    wait_for 10 _echoed "$1"
    _doctor "$@"
}
_echoed() { conntrack -L -p tcp --orig-port-src "$1" 2>/dev/null | grep -q ESTABLISHED && sleep 1; }
_doctor() {
    local said
    said=$("$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor --flow "10.0.1.2:$1-10.0.2.2:21" | grep ' flow ')
    case $said in *"$2"*) result ours-tools "doctor-flow-$3" '' ;; *) result ours-tools "doctor-flow-$3" "$said" ;; esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    BIN=${1:-$BIN}
    : >"$VM_OUT/results"
    topology_build
    tools
    [ $good -eq $total ]
fi
