#!/bin/bash
# records.sh [SOURCE...]: rpc, tns, sane and amanda with each source of the helper (default: all three).
#
# Real peers: rpcbind with rpcinfo, saned with scanimage (`test` backend, the image compared byte by byte). By script: the portmapper's
# calls one by one over UDP and TCP, a TNS listener, an amandad (records-server.py, records-client.py).
# Each {none, snat, dnat}, over IPv4 and IPv6, behind rules that drop by default. Lines as ftp-matrix.sh prints
# them, with `records-SOURCE` as label; ours must pass all. Sourced, it only defines `records`.
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/sources.sh"

RECORDS_RUN=/run/records RECORDS_PIDS=()
# 74 kB, colourful.
SCAN=(--mode Color --resolution 100 -x 40 -y 40 --test-picture 'Color pattern')

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

# ---- peers --------------------------------------------------------------------------------------

records_peers() {
    mkdir -p $RECORDS_RUN/sane /run/rpcbind
    # Datagrams are answered from the address that was asked: rpcbind and the programs have one each.
    ip netns exec server rpcbind -f -i >>"$VM_OUT/rpcbind.log" 2>&1 & RECORDS_PIDS+=($!)
    ip netns exec server /usr/bin/python3 "$REPO/tests/vm/guest/records-server.py" 10.0.2.2 fd00:2::2 >"$VM_OUT/records-server.log" 2>&1 &
    RECORDS_PIDS+=($!)
    printf '%s\n' test >$RECORDS_RUN/sane/dll.conf
    printf '%s\n' 10.0.0.0/8 '[fd00::]/16' >$RECORDS_RUN/sane/saned.conf
    SANE_CONFIG_DIR=$RECORDS_RUN/sane ip netns exec server saned -l -D >>"$VM_OUT/saned.log" 2>&1 & RECORDS_PIDS+=($!)
    SANE_CONFIG_DIR=$RECORDS_RUN/sane scanimage -d test:0 "${SCAN[@]}" >$RECORDS_RUN/image 2>/dev/null
    wait_for 60 grep -q ready "$VM_OUT/records-server.log" || { echo 'the record peers did not come up' >&2; return 1; }
    wait_for 10 _saned_listens || { echo 'saned does not listen' >&2; return 1; }
}
_saned_listens() { ip netns exec server ss -Hltn 'sport = 6566' | grep -q . || return 1; }

records_peers_stop() {
    local pid
    for pid in "${RECORDS_PIDS[@]}"; do kill "$pid" 2>/dev/null; done
    for pid in $(ip netns pids server); do kill "$pid" 2>/dev/null; done
    RECORDS_PIDS=()
}

# rpcinfo: what it prints tells whether the program itself has answered. It blocks all signals but SIGKILL while it connects.
_records_rpcinfo() {   # transport host program
    local said
    said=$(ip netns exec client timeout -s KILL $RECORDS_SECONDS rpcinfo -T $1 $2 $3 1 2>&1)
    case $said in *"ready and waiting"*) echo ok ;; *) echo "${said:-timed out}" | tail -n 1 ;; esac
}

_records_scan() {   # 4|6 host
    local folder=$RECORDS_RUN/client$1 said
    mkdir -p $folder
    echo net >$folder/dll.conf
    printf 'connect_timeout = %s\n%s\n' $RECORDS_SECONDS "$2" >$folder/net.conf
    local host=$2
    case $host in *:*) host="[$host]" ;; esac
    said=$(SANE_CONFIG_DIR=$folder ip netns exec client timeout -k 1 $((RECORDS_SECONDS * 2)) \
        scanimage -d "net:$host:test:0" "${SCAN[@]}" 2>&1 >$folder/image)
    if [ -s $RECORDS_RUN/image ] && cmp -s $folder/image $RECORDS_RUN/image; then echo ok
    else echo "${said:-the image differs}" | tail -n 1; fi
}

# ---- the cases ----------------------------------------------------------------------------------

# records_cases LABEL NAT: all at once.
records_cases() {
    local host4 host6 what name why number pids=() out=$RECORDS_RUN/out
    host4=$(topology_target $2 4) host6=$(topology_target $2 6)
    rm -rf $out; mkdir $out
    ip netns exec client /usr/bin/python3 "$REPO/tests/vm/guest/records-client.py" $host4 $host6 $RECORDS_SECONDS >$out/scripted &
    pids+=($!)
    for what in udp/$host4/8 tcp/$host4/9 udp6/$host6/8 tcp6/$host6/9; do
        IFS=/ read -r name why number <<<"$what"
        _records_rpcinfo $name $why $((0x20000000 + number)) >$out/rpc-rpcinfo-$name & pids+=($!)
    done
    _records_scan 4 $host4 >$out/sane-scanimage4 & pids+=($!)
    _records_scan 6 $host6 >$out/sane-scanimage6 & pids+=($!)
    wait "${pids[@]}"
    {
        for name in $out/rpc-* $out/sane-*; do echo "${name##*/} $(<$name)"; done
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
    [ $source = ours ] || RECORDS_SECONDS=4
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
    topology_build
    records_all "$@"
fi
