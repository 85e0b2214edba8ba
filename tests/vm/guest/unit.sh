# For sourcing in a guest whose process 1 is systemd: verdicts, and questions about the unit.
# Sets bad=1 when a verdict is FAIL; LABEL names the test.
. "$REPO/tests/vm/guest/sources.sh"
CTHELPERD_RUN=/run/cthelperd
BIN=/usr/sbin

: >"$VM_OUT/results"
bad=0
verdict() {   # CASE COMMAND...: ok if the command says yes; what it wrote is why it did not.
    local name=$1 said line; shift
    if said=$("$@" 2>&1); then line="$LABEL $VM_KERNEL $name ok"
    else bad=1; line="$LABEL $VM_KERNEL $name FAIL ($(tail -n 1 <<<"${said:-no: $*}"))"; fi
    echo "$line" | tee -a "$VM_OUT/results"
}
property() { systemctl show -P "$2" "$1"; }
unit() { property cthelperd.service "$1"; }
is() { [ "$1" = "$2" ] || { echo "is '$1', not '$2'"; return 1; }; }
active() { [ "$(unit ActiveState)" = active ]; }
failed() { [ "$(unit ActiveState)" = failed ]; }
supervisor() { unit MainPID; }
another() { [ "$(supervisor)" != "$1" ] && [ "$(supervisor)" != 0 ] && active && serving; }
keeper() { pgrep -f '^/proc/self/exe keeper [0-9]+ [0-9]+$' | head -n 1; }
keepers() { pgrep -fc '^/proc/self/exe keeper [0-9]+ [0-9]+$'; }
no_keeper() { [ -z "$(keeper)" ]; }
queue_port() { awk '$1 >= 6200 && $1 < 6300 { print $2; exit }' /proc/net/netfilter/nfnetlink_queue; }
no_queue() { is "$(queue_port)" ''; }
CTL=cthelperctl
helpers() { $CTL nfct list helper | grep -c "status = $1"; }
# FTP has two: one for each family.
enabled() { is "$(helpers enabled)" 2; }
disabled() { is "$(helpers disabled)" 2; }
entries() { journalctl -b --no-pager -o json "$@" | wc -l; }
serving() { ours_status | grep -q '"state": *"serving"'; }
booted() { local s; s=$(timeout 120 systemctl is-system-running --wait); [ "$s" = running ] || [ "$s" = degraded ]; }
crash_found() { [ "$(entries CTHELPER=ftp CTHELPER_EVENT=worker_crashed)" -gt "$1" ]; }
