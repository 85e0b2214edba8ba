#!/bin/bash
# package.sh OLDER NEWER NFCT: the packages on a small Debian with systemd, installed and purged by apt, between a client and a server.
LABEL=ours-package
. "$REPO/tests/vm/guest/unit.sh"
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/peers.sh"
. "$REPO/tests/vm/guest/package/router.sh"
. "$REPO/tests/vm/guest/package/kept.sh"
OLDER=$1 NEWER=$2 NFCT=$3

version_of() { dpkg-deb -f "$1" Version; }
apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends -o Dpkg::Options::=--force-confold "$@" >>"$VM_OUT/apt.log" 2>&1; }
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
    every_kind_moves
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
    table_watch
    verdict restart systemctl restart cthelperd
    verdict restart-another wait_for 30 another "$pid"
    load_end restart
    verdict restart-rules-stay table_stayed
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
    verdict upgrade-one-keeper is "$(keepers)" 1
    verdict upgrade-no-deleted-file eval '! ls -l /proc/[0-9]*/exe 2>/dev/null | grep "cthelper.*deleted"'
    verdict nfct-instead-of-debians eval '! dpkg -S /usr/sbin/nfct | grep -v "^cthelperd-nfct:"'
    verdict nfct-debians-is-gone eval '! dpkg-query -W -f "\${db:Status-Abbrev}" nfct | grep ^ii'
    verdict nfct-answers eval 'nfct list helper | grep -q "name = ftp"'
}

# Each path below the documents' folder that a document names.
documents_name() { grep -rhoE '/usr/share/doc/cthelperd[A-Za-z0-9_./@-]*' /usr/share/doc/cthelperd /etc/cthelperd | sed 's/[./]*$//' | sort -u; }
no_document_is_missing() { local path; documents_name | while read -r path; do [ -e "$path" ] || echo "$path"; done | { ! grep .; }; }
completes() { bash -c '. /usr/share/bash-completion/completions/cthelperctl; COMP_WORDS=(cthelperctl doct); COMP_CWORD=1; _cthelperctl cthelperctl doct cthelperctl; [ "${COMPREPLY[*]}" = doctor ]'; }
# What is beside the daemon: documents, a port for metrics where the drop-in allows it, the reader of an event queue.
beside() {
    verdict documents-there no_document_is_missing
    verdict completion-bash completes
    sed -i 's/^# listen = /listen = /' /etc/cthelperd/cthelperd.toml
    # An older version's file has no such line.
    grep -q '^listen = ' /etc/cthelperd/cthelperd.toml || printf '[metrics]\nlisten = "127.0.0.1:9811"\n' >>/etc/cthelperd/cthelperd.toml
    printf '[events.queue.1]\ngroups = ["cthelperd-events"]\n' >>/etc/cthelperd/cthelperd.toml
    install -D -m 644 /usr/share/doc/cthelperd/examples/metrics.conf /etc/systemd/system/cthelperd.service.d/metrics.conf
    verdict metrics-restart eval 'systemctl daemon-reload && systemctl restart cthelperd && wait_for 20 serving'
    verdict metrics-port wait_for 10 scrape
    verdict events-unit events_start
    verdict events-subscribed wait_for 20 eval 'cthelperctl metrics | grep -q "^cthelperd_broker_subscribers 1"'
    verdict events-ftp moves 4 passive
    verdict events-in-journal wait_for 20 eval 'journalctl -b --no-pager -o cat -t cthelperd-events-1 | grep -q "dport=21 "'
    # Without the drop-in the daemon would not start with a port.
    sed -i "s/^listen = /# listen = /" /etc/cthelperd/cthelperd.toml
    rm -r /etc/systemd/system/cthelperd.service.d
    systemctl daemon-reload
}
scrape() { python3 -c 'import urllib.request; assert b"cthelperd_build_info" in urllib.request.urlopen("http://127.0.0.1:9811/metrics", timeout=5).read()'; }

# The pause before a restart, which is when systemd runs neither ExecStop nor ExecStopPost; made long enough to be met.
stopped_in_the_pause() {
    mkdir -p /run/systemd/system/cthelperd.service.d
    printf '[Service]\nRestartSec=30s\n' >/run/systemd/system/cthelperd.service.d/pause.conf
    systemctl daemon-reload
    kill -KILL "$(supervisor)"
    verdict pause-reached wait_for 10 eval '[ "$(unit SubState)" = auto-restart ]'
    verdict pause-held enabled
    verdict pause-rules-stay table
    systemctl stop cthelperd
    verdict pause-disarmed wait_for 20 disabled
    verdict pause-no-keeper wait_for 10 no_keeper
    verdict pause-no-queue wait_for 10 no_queue
    verdict pause-rules-unloaded wait_for 20 no_table
    # Meanwhile the reader of events tries every second.
    verdict pause-reader-tries wait_for 10 eval '[ "$(property cthelperd-events@1.service NRestarts)" -gt 2 ]'
    verdict pause-reader-starts-nothing is "$(unit ActiveState)" inactive
    rm -r /run/systemd/system/cthelperd.service.d
    systemctl daemon-reload
    verdict pause-then-started systemctl start cthelperd
    verdict pause-then-enabled wait_for 20 enabled
    verdict pause-then-rules table
    verdict pause-then-reader wait_for 20 eval 'cthelperctl metrics | grep -q "^cthelperd_broker_subscribers 1"'
}

watched() {
    local pid; pid=$(supervisor)
    table_watch
    kill -STOP "$pid"
    verdict watchdog-ends-what-stands-still wait_for 60 another "$pid"
    verdict watchdog-said eval 'journalctl -b --no-pager -o cat -u cthelperd | grep -i "watchdog timeout"'
    verdict watchdog-enabled enabled
    verdict watchdog-rules-stay table_stayed
}

says_what_to_do() { systemctl status --no-pager -n 0 cthelperd | grep 'Status:.*modprobe nfnetlink_cthelper'; }
without_module() {
    systemctl stop cthelperd
    verdict module-stop-no-table wait_for 20 no_table
    conntrack -F >/dev/null 2>&1
    echo 'install nfnetlink_cthelper /bin/false' >/etc/modprobe.d/without.conf
    verdict module-out wait_for 10 modprobe -r nfnetlink_cthelper
    verdict module-start-fails eval '! systemctl start cthelperd'
    verdict module-given-up wait_for 60 failed
    verdict module-tried-once is "$(unit NRestarts)" 0
    verdict module-status-says-what-to-do says_what_to_do
    # Where no helper is taken, there is none to disable.
    verdict module-disarm-succeeds wait_for 20 eval '[ "$(property cthelperd-disarm.service ActiveState)" = inactive ]'
    systemctl status --no-pager -n 0 cthelperd
    rm /etc/modprobe.d/without.conf
    systemctl reset-failed cthelperd
    verdict module-then-started systemctl start cthelperd
    verdict module-then-rules table
    verdict module-then-ftp moves 4 passive
}

purged() {
    cp /usr/sbin/cthelperctl /root/ctl
    CTL=/root/ctl
    verdict purge-after-a-failure reader_fails
    verdict purge apt purge cthelperd $(dpkg-query -W -f '${Package} ' cthelperd-nfct 2>/dev/null)
    verdict purge-helpers-disabled disabled
    verdict purge-no-queue no_queue
    verdict purge-no-process eval '[ -z "$(pgrep -a "^cthelper")" ] && [ -z "$(keeper)" ]'
    verdict purge-no-table eval '! nft list table inet cthelperd'
    verdict purge-no-unit-file eval '! systemctl list-unit-files --no-legend "cthelper*" | grep .'
    verdict purge-no-unit eval '! systemctl list-units --all --no-legend "cthelper*" | grep .'
    verdict purge-no-profile eval '! grep cthelperd /sys/kernel/security/apparmor/profiles'
    verdict purge-no-runtime eval '! ls -d /run/cthelper*'
    verdict purge-no-nfct [ ! -e /usr/sbin/nfct ]
    users >/root/users.after; files | grep -vxFf /root/nfct.files >/root/files.after
    verdict purge-no-user diff /root/users.before /root/users.after
    verdict purge-no-file diff /root/files.before /root/files.after
}

verdict booted booted
mount -t securityfs none /sys/kernel/security 2>/dev/null
dpkg -L nfct >/root/nfct.files
users >/root/users.before; files | grep -vxFf /root/nfct.files >/root/files.before
topology_build && firewall && server_start pyftpdlib || exit
installed
active || try_without_apparmor
if active; then
    crashed
    reloaded
    upgraded
    kept
    restarted
    beside
    stopped_in_the_pause
    watched
    without_module
    verdict no-denials eval '! denials'
fi
journalctl -b --no-pager -u cthelperd -n 60 >"$VM_OUT/unit.log"
denials | sort -u | head -n 40
purged
exit $bad
