#!/bin/bash
# records.sh [SOURCE...]: rpc, tns, sane and amanda with each source of the helper (default: all three).
#
# Real peers: rpcbind with rpcinfo, by hand NFS version 3, too (not in all.sh), saned with scanimage, amandad with amservice (records-peers.sh). By script: the
# portmapper's calls one by one over UDP and TCP, a TNS listener, an amandad over IPv6 (records-server.py, records-client.py).
# Each {none, snat, dnat}, over IPv4 and IPv6, behind rules that drop by default. Lines as ftp-matrix.sh prints
# them, with `records-SOURCE` as label; ours must pass all. Sourced, it only defines `records`.
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"
. "$REPO/tests/vm/guest/records-peers.sh"

RECORDS_RUN=/run/records

# ---- sources ------------------------------------------------------------------------------------

records_source() {
    RECORDS_HAS='rpc tns sane amanda'
    case $1 in
    ours)
        CTHELPERD_WHAT='--helper rpc --helper tns --helper sane --helper amanda' source_start ours ;;
    kernel)
        SOURCE=kernel RECORDS_HAS='sane amanda'
        modprobe -a nf_conntrack_sane nf_conntrack_amanda nf_nat_amanda ;;
    conntrackd)
        SOURCE=conntrackd
        modprobe -a nfnetlink_cthelper nfnetlink_queue
        _records_conntrackd >/run/records.conf
        conntrackd -C /run/records.conf >>"$VM_OUT/conntrackd.log" 2>&1 &
        SOURCE_PID=$!
        wait_for 10 queue_bound 30 ;;
    esac
}

# With its built-in policies: a Policy block would replace them as a whole.
_records_conntrackd() {
    local queue=20 what l3
    echo 'Helper {'; echo '    Setup yes'
    for what in rpc/tcp rpc/udp tns/tcp sane/tcp amanda/udp; do
        for l3 in inet inet6; do
            queue=$((queue + 1))
            printf '    Type %s %s %s { QueueNum %s\n QueueLen 1024\n }\n' ${what%/*} $l3 ${what#*/} $queue
        done
    done
    cat <<'CONF'
}
General {
    HashSize 8192
    HashLimit 65535
    Syslog no
    LogFile on
    LockFile /run/conntrackd.lock
    UNIX { Path /run/conntrackd.ctl }
}
CONF
}

records_source_stop() {
    local s=0
    source_stop || s=1
    modprobe -r nf_nat_amanda nf_conntrack_amanda nf_conntrack_sane 2>/dev/null
    return $s
}

# ---- rules --------------------------------------------------------------------------------------

# records_rules none|snat|dnat: a helper for each control port, everything else is dropped.
records_rules() {
    local objects='' attach='' related='' spec name l4 port
    topology_clear
    for spec in rpc/tcp/111 rpc/udp/111 tns/tcp/1521 sane/tcp/6566 amanda/udp/10080; do
        IFS=/ read -r name l4 port <<<"$spec"
        case " $RECORDS_HAS " in *" $name "*) ;; *) continue ;; esac
        objects+="ct helper ${name}_$l4 { type \"$name\" protocol $l4; l3proto inet; }"$'\n'
        attach+="$l4 dport $port ct helper set \"${name}_$l4\""$'\n'
        related+="ct state related ct helper \"$name\" accept"$'\n'
    done
    nft -f - <<NFT || return
table inet vm {
    $objects
    chain attach { type filter hook prerouting priority -150;
        $attach
    }
    chain allowed {
        ct state established accept
        $related
        ct state new tcp dport { 111, 1521, 6566 } accept
        ct state new udp dport { 111, 10080 } accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
    }
    chain forwarded { type filter hook forward priority 0; policy drop; jump allowed; }
    chain incoming  { type filter hook input priority 0; policy drop; jump allowed; }
    chain outgoing  { type filter hook output priority 0; policy drop; jump allowed; }
}
NFT
    topology_nat $1 'meta l4proto { tcp, udp } th dport { 111, 1521, 6566, 10080 }'
}

# ---- the cases ----------------------------------------------------------------------------------

# records_cases LABEL NAT: all at once.
records_cases() {
    local host4 host6 what name why number host pids=() out=$RECORDS_RUN/out
    host4=$(topology_target $2 4) host6=$(topology_target $2 6)
    rm -rf $out; mkdir $out
    ip netns exec client /usr/bin/python3 "$REPO/tests/vm/guest/records-client.py" $host4 $host6 $RECORDS_SECONDS >$out/scripted &
    pids+=($!)
    for what in udp/$host4/8 tcp/$host4/9 udp6/$host6/8 tcp6/$host6/9; do
        IFS=/ read -r name why number <<<"$what"
        _records_rpcinfo $name $why $((0x20000000 + number)) >$out/rpc-rpcinfo-$name & pids+=($!)
    done
    for number in 4 6; do
        host=$host4; [ $number = 4 ] || host=$host6
        _records_scan $number $host >$out/sane-scanimage$number & pids+=($!)
        _records_nfs_both $number $host $out & pids+=($!)
    done
    _records_backup $host4 >$out/amanda-sendbackup4 & pids+=($!)
    wait "${pids[@]}"
    {
        for name in $out/rpc-* $out/sane-* $out/amanda-*; do echo "${name##*/} $(<$name)"; done
        cat $out/scripted
    } | while read -r name why; do
        case " $RECORDS_HAS " in *" ${name%%-*} "*) ;; *) continue ;; esac
        if [ "$why" = ok ]; then echo "$1 $VM_KERNEL $name-$2 ok"; else echo "$1 $VM_KERNEL $name-$2 FAIL ($why)"; fi
    done | tee -a "$VM_OUT/results" | tee -a $RECORDS_RUN/lines
}

# One object per family and protocol, and one queue for each name.
_records_registered() {
    "$BIN/cthelperctl" nfct list helper >$RECORDS_RUN/objects
    [ "$(grep -c 'name = rpc' $RECORDS_RUN/objects)" = 4 ] || { echo "rpc is registered $(grep -c 'name = rpc' $RECORDS_RUN/objects) times"; return; }
    [ "$(grep -A1 'name = rpc' $RECORDS_RUN/objects | grep -o 'queuenum = [0-9]*' | sort -u | wc -l)" = 1 ] || { echo 'rpc has more than one queue'; return; }
    ours_status | grep -q '"name":"rpc","l4":"tcp,udp"' || { echo 'the status does not say tcp,udp'; return; }
    echo ok
}

# records SOURCE: everything with one source; the status says whether all went well.
records() {
    local source=$1 label=records-$1 nat why good total
    RECORDS_SECONDS=8
    [ $source = ours ] || RECORDS_SECONDS=6   # what fails takes this long, or twice
    : >$RECORDS_RUN/lines
    if ! records_source $source; then
        echo "$label $VM_KERNEL start FAIL (did not come up)" | tee -a "$VM_OUT/results"
        records_source_stop; return 1
    fi
    for nat in none snat dnat; do
        if records_rules $nat; then records_cases $label $nat
        else echo "$label $VM_KERNEL rules-$nat FAIL (nft refused the rules)" | tee -a "$VM_OUT/results" $RECORDS_RUN/lines; fi
    done
    if [ $source = ours ]; then
        why=$(_records_registered)
        [ "$why" = ok ] || why="FAIL ($why)"
        echo "$label $VM_KERNEL registered $why" | tee -a "$VM_OUT/results" $RECORDS_RUN/lines
        ours_status >"$VM_OUT/records-status.json"
    fi
    records_source_stop
    good=$(grep -c ' ok$' $RECORDS_RUN/lines) total=$(wc -l <$RECORDS_RUN/lines)
    echo "$label $VM_KERNEL: $good of $total" | tee -a "$VM_OUT/results"
    [ $good = $total ]
}

# records_all SOURCE...: one after the other; the status is that of ours.
records_all() {
    local source status=0
    records_peers || return
    for source in "$@"; do records $source || [ $source != ours ] || status=1; done
    records_peers_stop
    return $status
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    [ $# -gt 0 ] || set -- kernel conntrackd ours
    : >"$VM_OUT/results"
    RECORDS_NFS=yes
    topology_build
    records_all "$@"
fi
