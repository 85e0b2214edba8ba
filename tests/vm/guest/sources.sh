# The three sources of the FTP helper, for sourcing:
#   source_start none|kernel|conntrackd|ours    registers, serves; sets HELPER (for topology_rules)
#   source_stop                                 undoes it, also on a machine where it half failed
# `ours` leaves its runtime folder in CTHELPERD_RUN; logs go to VM_OUT.

BIN=$REPO/target/release
CTHELPERD_RUN=/run/cthelperd-vm
SOURCE='' HELPER='' SOURCE_PID=''

source_start() {
    SOURCE=$1 HELPER=ftp SOURCE_PID=''
    case $1 in
    none)       HELPER='' ;;
    kernel)     modprobe -a nf_conntrack_ftp nf_nat_ftp ;;
    conntrackd) _start_conntrackd ;;
    ours)       _start_ours ;;
    *)          echo "no such source: $1" >&2; return 64 ;;
    esac
}

_start_conntrackd() {
    modprobe -a nfnetlink_cthelper nfnetlink_queue
    mkdir -p /etc/conntrackd
    cat >/etc/conntrackd/conntrackd.conf <<'CONF'
Helper {
    Setup yes
    Type ftp inet tcp {
        QueueNum 10
        QueueLen 10240
        Policy ftp { ExpectMax 8
                     ExpectTimeout 300 }
    }
    Type ftp inet6 tcp {
        QueueNum 11
        QueueLen 10240
        Policy ftp { ExpectMax 8
                     ExpectTimeout 300 }
    }
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
    conntrackd -C /etc/conntrackd/conntrackd.conf >>"$VM_OUT/conntrackd.log" 2>&1 &
    SOURCE_PID=$!
    wait_for 10 queue_bound 11
}

# CTHELPERD_WHAT: what a test serves, instead of `--helper ftp`. CTHELPERD_ARGS: its extra arguments. CTHELPERD_TRACER: words before it all.
# CTHELPERD_STDERR: where its own log goes, instead of VM_OUT/cthelperd.log.
_start_ours() {
    modprobe -a nfnetlink_cthelper nfnetlink_queue
    mkdir -p $CTHELPERD_RUN/quarantine
    ${CTHELPERD_TRACER:-} "$BIN/cthelperd" run ${CTHELPERD_WHAT:---helper ftp} --runtime-dir $CTHELPERD_RUN --audit-log "$VM_OUT/audit.jsonl" --journal none \
        --quarantine-dir $CTHELPERD_RUN/quarantine ${CTHELPERD_ARGS:-} >>"${CTHELPERD_STDERR:-$VM_OUT/cthelperd.log}" 2>&1 &
    SOURCE_PID=$!
    wait_for 15 ours_serving
}

ours_status() { "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN status --json 2>/dev/null; }
ours_serving() {
    [ -d /proc/$SOURCE_PID ] || return 2
    ours_status | /usr/bin/python3 -c '
import json, sys
h = json.load(sys.stdin)["helpers"]
sys.exit(not (h and all(x["state"] == "serving" for x in h)))' 2>/dev/null
}
# The worker that serves (not a spare) of the FTP helper.
ours_worker() {
    ours_status | /usr/bin/python3 -c '
import json, sys
print([w["pid"] for h in json.load(sys.stdin)["helpers"] for w in h["workers"] if not w["spare"]][0])' 2>/dev/null
}

queue_bound() { grep -q "^ *$1 " /proc/net/netfilter/nfnetlink_queue; }

wait_for() {   # seconds, command...; status 2 of the command = it will never come true
    local end=$((SECONDS + $1)) s; shift
    while :; do
        "$@"; s=$?
        [ $s -eq 0 ] && return 0
        if [ $s -eq 2 ] || [ $SECONDS -ge $end ]; then return 1; fi
        sleep 0.1
    done
}

source_stop() {
    local s=0
    if [ -n "$SOURCE_PID" ]; then
        kill -TERM $SOURCE_PID 2>/dev/null
        wait_for 20 _gone $SOURCE_PID || { kill -KILL $SOURCE_PID 2>/dev/null; s=1; }
        wait $SOURCE_PID 2>/dev/null || s=1
    fi
    nft flush ruleset
    conntrack -F >/dev/null 2>&1
    # The kernel keeps registered helpers until somebody deletes them: take the module away.
    modprobe -r nf_nat_ftp nf_conntrack_ftp 2>/dev/null
    modprobe -r nfnetlink_cthelper 2>/dev/null
    SOURCE='' HELPER='' SOURCE_PID=''
    return $s
}
# Status 1, never grep's 2: a process may go between the two looks.
_gone() { ! kill -0 "$1" 2>/dev/null || grep -q '^State:.Z' /proc/"$1"/status 2>/dev/null || return 1; }
