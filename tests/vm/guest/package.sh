#!/bin/bash
# package.sh OLDER NEWER NFCT: the packages on a small Debian with systemd, installed and purged by apt, between a client and a server.
LABEL=ours-package
. "$REPO/tests/vm/guest/unit.sh"
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/peers.sh"
OLDER=$1 NEWER=$2 NFCT=$3
LOAD=/run/load

version_of() { dpkg-deb -f "$1" Version; }
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends -o Dpkg::Options::=--force-confold "$@" >>"$VM_OUT/apt.log" 2>&1; }
# What is on the disk, but for what apt, dpkg and the system's own services write.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/cache \
        -o -path /var/lib/apt -o -path /var/log/journal -o -path /var/log/apt -o -path /root -o -path "$VM_OUT" \) -prune -o -print |
        grep -v -x -e /var/log/dpkg.log -e '/var/lib/systemd/.*' -e '/etc/\(passwd\|group\|shadow\|gshadow\)-' -e '/etc/.*lock' -e /var/lib/logrotate/status -e '.*/__pycache__\(/.*\)\?' | sort
}
users() { cut -d: -f1 /etc/passwd /etc/group | sort; }
confined_as() { is "$(tr -d '\0' </proc/"$1"/attr/current)" 'cthelperd (enforce)'; }
denials() { journalctl -b -k --no-pager -o cat | grep 'apparmor="DENIED".*profile="cthelperd"'; }

# It does not start: is it AppArmor? Then here is all that it misses, and the rest is tried without.
try_without_apparmor() {
    local profile=/etc/apparmor.d/usr.sbin.cthelperd
    sed -i 's/attach_disconnected/attach_disconnected,complain/' $profile && apparmor_parser -r $profile && systemctl restart cthelperd
    sleep 5
    journalctl -b -k --no-pager -o cat | grep 'apparmor="ALLOWED"' | sed 's/.*operation/operation/; s/pid=[0-9]*//' | sort | uniq -c
    rules_load
}

# Drops what is not established, related, or new to port 21; counts what goes in and comes out of the control connections.
firewall() {
    nft -f - <<'NFT'
table inet firewall {
    chain forwarded {
        type filter hook forward priority 0; policy drop;
        ct state established accept
        ct state related ct helper "ftp" accept
        ct state new tcp dport 21 accept
        icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept
    }
    chain in {
        type filter hook prerouting priority -300
        iifname { c0, s0 } tcp dport 21 counter
        iifname { c0, s0 } tcp sport 21 counter
    }
}
NFT
    local host
    for host in client server; do
        ip netns exec $host nft -f - <<'NFT'
table inet count {
    chain in {
        type filter hook input priority -300
        tcp dport 21 counter
        tcp sport 21 counter
    }
}
NFT
    done
}
packets() { python3 -c 'import re, subprocess, sys; print(sum(map(int, re.findall(r"counter packets (\d+)", subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True).stdout))))' "$@"; }
went_in() { packets nft list chain inet firewall in; }
came_out() { echo $(($(packets ip netns exec client nft list table inet count) + $(packets ip netns exec server nft list table inet count))); }
none_dropped() { is "$(came_out)" "$(went_in)"; }

rules_load() { cthelperctl rules nft --helper ftp | nft -f -; }
moves() { ip netns exec client "$REPO/tests/vm/guest/ftp-session.py" "$(topology_target none "$1")" "$2" true; }

load_start() {
    rm -rf $LOAD; mkdir -p $LOAD
    LOADS=()
    local family mode
    for family in 4 6; do
        for mode in passive active; do
            ip netns exec client "$REPO/tests/vm/guest/package/load.py" "$(topology_target none $family)" $mode 2 $LOAD >$LOAD/why.$family-$mode 2>&1 &
            LOADS+=("$!:$family-$mode")
        done
    done
    wait_for 120 eval '[ "$(ls $LOAD/ready.* 2>/dev/null | wc -l)" = 4 ]'
}
load_end() {   # CASE: all went on, and no packet is missing
    local load why
    sleep 2
    touch $LOAD/stop
    for load in "${LOADS[@]}"; do
        wait "${load%%:*}"; why=$?
        verdict "$1-connections-${load#*:}" eval 'cat $LOAD/why.'"${load#*:}; [ $why = 0 ]"
        sed "s/^/    /" "$LOAD/why.${load#*:}"
    done
    verdict "$1-no-packet-dropped" wait_for 10 none_dropped
}

installed() {
    verdict install apt install "$OLDER"
    verdict version is "$(dpkg-query -W -f '${Version}' cthelperd)" "$(version_of "$OLDER")"
    verdict enabled-at-boot systemctl is-enabled cthelperd
    verdict ready active
    verdict serving wait_for 20 serving
    verdict helper-enabled enabled
    verdict keeper-runs keeper
    verdict checked eval 'cthelperd check'
    verdict user-made id -u cthelperd
    verdict modules-at-boot eval '/lib/systemd/systemd-modules-load && lsmod | grep -q nfnetlink_cthelper'
    if [ -d /sys/kernel/security/apparmor ]; then
        verdict apparmor-supervisor confined_as "$(supervisor)"
        verdict apparmor-worker confined_as "$(ours_worker)"
        verdict apparmor-keeper confined_as "$(keeper)"
    fi
    # Without the daemon the rules would bring the kernel's own helper in.
    active || return
    verdict rules-load rules_load
    verdict not-the-kernels-helper eval '! lsmod | grep nf_conntrack_ftp'
    verdict logrotate-reads eval 'logrotate -d /etc/logrotate.d/cthelperd'
    local family mode
    for family in 4 6; do for mode in passive active; do verdict "ftp-ipv$family-$mode" moves $family $mode; done; done
}

crashed() {
    local had; had=$(entries CTHELPER=ftp CTHELPER_EVENT=worker_crashed)
    kill -SEGV "$(ours_worker)"
    verdict crash-in-journal wait_for 20 crash_found "$had"
    verdict crash-explained eval 'journalctl -b --no-pager -x CTHELPER_EVENT=worker_crashed | grep -q "cthelperctl crashes show"'
    verdict crash-then-ftp moves 4 passive
}

reloaded() {
    local pid; pid=$(supervisor)
    echo '[helper.ftp.restart]
spares = 2' >>/etc/cthelperd/cthelperd.toml
    verdict reload systemctl reload cthelperd
    verdict reload-same-process is "$(supervisor)" "$pid"
    verdict reload-applied wait_for 20 eval '[ "$(ours_status | grep -o "\"pid\"" | wc -l)" -ge 3 ]'
}

# A restart hands over: what is announced meanwhile waits. The first version may be older than that.
restarted() {
    local pid; pid=$(supervisor)
    load_start; verdict restart-load [ $? = 0 ]
    verdict restart systemctl restart cthelperd
    verdict restart-another wait_for 30 another "$pid"
    load_end restart
    verdict restart-adopted eval 'journalctl -b --no-pager -o cat -u cthelperd | grep -A 40 "handing over" | grep "adopted the queue"'
    local gap; gap=$(journalctl -b --no-pager -o short-unix -u cthelperd | awk '/handing over/ { a = $1 } /adopted the queue/ { b = $1 } END { printf "%d", (b - a) * 1000 }')
    echo "    from handing over to adoption: $gap ms"
    # On a machine that takes longer than the keeper waits, packets pass without the helper in the end.
    [ "$gap" -ge 5000 ] || verdict restart-every-download-meanwhile eval '! grep -h moved $LOAD/why.* | grep -v " 0 not"'
}

upgraded() {
    local pid; pid=$(supervisor)
    load_start; verdict upgrade-load [ $? = 0 ]
    verdict upgrade apt install "$NEWER" "$NFCT"
    verdict upgrade-version is "$(dpkg-query -W -f '${Version}' cthelperd)" "$(version_of "$NEWER")"
    verdict upgrade-another wait_for 30 another "$pid"
    load_end upgrade
    verdict upgrade-keeps-configuration grep -q 'spares = 2' /etc/cthelperd/cthelperd.toml
    verdict upgrade-enabled enabled
    verdict upgrade-watchdog is "$(unit WatchdogUSec)" 15s
    verdict upgrade-new-program eval 'cmp -s "/proc/$(supervisor)/exe" /usr/sbin/cthelperd'
    verdict upgrade-one-keeper is "$(pgrep -fc '^/proc/self/exe keeper [0-9]+ [0-9]+$')" 1
    verdict upgrade-no-deleted-file eval '! ls -l /proc/[0-9]*/exe 2>/dev/null | grep "cthelper.*deleted"'
    verdict nfct-answers eval 'nfct list helper | grep -q "name = ftp"'
}

# The pause before a restart, which is when systemd runs neither ExecStop nor ExecStopPost; made long enough to be met.
stopped_in_the_pause() {
    mkdir -p /run/systemd/system/cthelperd.service.d
    printf '[Service]\nRestartSec=30s\n' >/run/systemd/system/cthelperd.service.d/pause.conf
    systemctl daemon-reload
    kill -KILL "$(supervisor)"
    verdict pause-reached wait_for 10 eval '[ "$(unit SubState)" = auto-restart ]'
    verdict pause-held enabled
    systemctl stop cthelperd
    verdict pause-disarmed wait_for 20 disabled
    verdict pause-no-keeper wait_for 10 no_keeper
    verdict pause-no-queue wait_for 10 no_queue
    rm -r /run/systemd/system/cthelperd.service.d
    systemctl daemon-reload
    verdict pause-then-started systemctl start cthelperd
    verdict pause-then-enabled wait_for 20 enabled
}

watched() {
    local pid; pid=$(supervisor)
    kill -STOP "$pid"
    verdict watchdog-ends-what-stands-still wait_for 60 another "$pid"
    verdict watchdog-said eval 'journalctl -b --no-pager -o cat -u cthelperd | grep -i "watchdog timeout"'
    verdict watchdog-enabled enabled
}

says_what_to_do() { systemctl status --no-pager -n 0 cthelperd | grep 'Status:.*modprobe nfnetlink_cthelper'; }
without_module() {
    systemctl stop cthelperd
    nft delete table inet cthelperd
    conntrack -F >/dev/null 2>&1
    echo 'install nfnetlink_cthelper /bin/false' >/etc/modprobe.d/without.conf
    verdict module-out wait_for 10 modprobe -r nfnetlink_cthelper
    verdict module-start-fails eval '! systemctl start cthelperd'
    verdict module-given-up wait_for 60 failed
    verdict module-status-says-what-to-do says_what_to_do
    systemctl status --no-pager -n 0 cthelperd
    rm /etc/modprobe.d/without.conf
    systemctl reset-failed cthelperd
    verdict module-then-started systemctl start cthelperd
    verdict module-rules-again rules_load
    verdict module-then-ftp moves 4 passive
}

purged() {
    cp /usr/sbin/cthelperctl /root/ctl
    CTL=/root/ctl
    verdict purge apt purge cthelperd $(dpkg-query -W -f '${Package} ' cthelperd-nfct 2>/dev/null)
    verdict purge-helpers-disabled disabled
    verdict purge-no-queue no_queue
    verdict purge-no-process eval '[ -z "$(pgrep -a "^cthelper")" ] && [ -z "$(keeper)" ]'
    verdict purge-no-table eval '! nft list table inet cthelperd'
    verdict purge-no-unit eval '[ -z "$(systemctl list-unit-files --no-legend "cthelper*")" ] && [ -z "$(systemctl list-units --all --no-legend "cthelper*")" ]'
    verdict purge-no-profile eval '! grep cthelperd /sys/kernel/security/apparmor/profiles'
    verdict purge-no-runtime eval '! ls -d /run/cthelper*'
    users >/root/users.after; files >/root/files.after
    verdict purge-no-user diff /root/users.before /root/users.after
    verdict purge-no-file diff /root/files.before /root/files.after
}

verdict booted booted
mount -t securityfs none /sys/kernel/security 2>/dev/null
users >/root/users.before; files >/root/files.before
topology_build && firewall && server_start pyftpdlib || exit
installed
active || try_without_apparmor
if active; then
    crashed
    reloaded
    upgraded
    restarted
    stopped_in_the_pause
    watched
    without_module
    verdict no-denials eval '! denials'
fi
journalctl -b --no-pager -u cthelperd -n 60 >"$VM_OUT/unit.log"
denials | sort -u | head -n 40
purged
exit $bad
