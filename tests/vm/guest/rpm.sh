#!/bin/bash
# rpm.sh OLDER NEWER NFCT: the RPM packages on a small Debian with systemd, between a client and a server.
LABEL=ours-rpm
. "$REPO/tests/vm/guest/unit.sh"
. "$REPO/tests/vm/guest/topology.sh"
. "$REPO/tests/vm/guest/peers.sh"
. "$REPO/tests/vm/guest/package/router.sh"
. "$REPO/tests/vm/guest/package/kept.sh"
OLDER=$1 NEWER=$2 NFCT=$3

packages() { rpm --dbpath /var/lib/rpm "$@"; }
# Debian's own packages are no RPMs, so nothing that is required is known.
change() { packages --nodeps "$@" >>"$VM_OUT/rpm.log" 2>&1; }
version_of() { packages -qp --qf '%{VERSION}' "$1"; }
# What every distribution with systemd has. Anything else would have to be one of the packages that are named.
requires_only_a_system() {
    packages -qp --requires "$NEWER" |
        { ! grep -v -e '^systemd$' -e '^/bin/sh$' -e '^lib\(c\|m\|gcc_s\)\.so' -e '^ld-linux' -e '^rtld(GNU_HASH)$' -e '^rpmlib(' -e '^config(cthelperd)'; }
}
# On Fedora nothing is enabled that no preset names, and the package `filesystem` has the folders that many share.
as_on_fedora() {
    mkdir -p /usr/share/licenses /usr/share/zsh/site-functions /usr/share/fish/vendor_completions.d
    mkdir -p /etc/systemd/system-preset
    echo 'disable *' >/etc/systemd/system-preset/99-default-disable.preset
}
mode() { is "$(stat -c '%U:%G %a' "$1")" "$2"; }

installed() {
    verdict requires requires_only_a_system
    verdict install change -i "$OLDER"
    verdict version is "$(packages -q --qf '%{VERSION}' cthelperd)" "$(version_of "$OLDER")"
    verdict files-as-packed packages -V --nodeps cthelperd
    verdict configuration-is-config eval 'packages -qc cthelperd | grep -q /etc/cthelperd/cthelperd.toml'
    verdict user-made id -u cthelperd
    verdict group-made getent group cthelperd-events
    verdict lock-made mode /run/cthelperd.lock 'root:root 644'
    verdict quarantine-made mode /var/lib/cthelperd/quarantine 'root:root 750'
    verdict not-enabled-by-itself eval '[ "$(systemctl is-enabled cthelperd)" = disabled ] && ! active'
    verdict checked eval 'cthelperd check'
    verdict enable systemctl enable --now cthelperd
    verdict serving wait_for 20 serving
    verdict helper-enabled enabled
    verdict modules-at-boot eval '/lib/systemd/systemd-modules-load && lsmod | grep -q nfnetlink_cthelper'
    verdict logrotate-reads logrotate -d /etc/logrotate.d/cthelperd
    verdict rules-applied cthelperctl rules nft --apply
    every_kind_moves
}

upgraded() {
    local pid
    printf '[helper.ftp.restart]\nspares = 2\n[events.queue.1]\ngroups = ["cthelperd-events"]\n' >>/etc/cthelperd/cthelperd.toml
    verdict restart eval 'systemctl restart cthelperd && wait_for 20 serving'
    verdict events-unit events_start
    pid=$(supervisor)
    load_start; verdict upgrade-load [ $? = 0 ]
    table_watch
    verdict upgrade change -U "$NEWER" "$NFCT"
    verdict upgrade-version is "$(packages -q --qf '%{VERSION}\n' cthelperd)" "$(version_of "$NEWER")"
    verdict upgrade-another wait_for 30 another "$pid"
    load_end upgrade
    verdict upgrade-rules-stay table_stayed
    verdict upgrade-keeps-configuration grep -q 'spares = 2' /etc/cthelperd/cthelperd.toml
    verdict upgrade-enabled enabled
    verdict upgrade-enabled-at-boot systemctl is-enabled cthelperd
    verdict upgrade-new-program eval 'cmp -s "/proc/$(supervisor)/exe" /usr/sbin/cthelperd'
    verdict upgrade-reader wait_for 20 eval 'cthelperctl metrics | grep -q "^cthelperd_broker_subscribers 1"'
    verdict nfct-answers eval 'nfct list helper | grep -q "name = ftp"'
    systemctl stop cthelperd
    verdict reinstalled change -U --replacepkgs "$NEWER"
    verdict reinstalled-stays-stopped eval '! active'
    verdict reinstalled-then-started eval 'systemctl start cthelperd && table'
}

# What the administrator and the evidence own: users, because files of theirs may be anywhere (Fedora's rule); a configuration that was changed;
# the audit log, exhibits, and the rules that were kept.
left_by_mistake() { comm -13 /root/files.before /root/files.after | grep -v -x -e '/etc/cthelperd' -e '/etc/cthelperd/cthelperd.toml.rpmsave' -e '/var/\(lib\|log\)/cthelperd\(/.*\)\?'; }
erased() {
    cp /usr/sbin/cthelperctl /root/ctl
    CTL=/root/ctl
    verdict erase-after-a-failure reader_fails
    verdict erase change -e cthelperd-nfct cthelperd
    verdict erase-helpers-disabled disabled
    verdict erase-no-queue no_queue
    verdict erase-no-process eval '[ -z "$(pgrep -a "^cthelper")" ] && [ -z "$(keeper)" ]'
    verdict erase-no-table no_table
    verdict erase-no-unit-file eval '! systemctl list-unit-files --no-legend "cthelper*" | grep .'
    verdict erase-no-unit eval '! systemctl list-units --all --no-legend "cthelper*" | grep .'
    verdict erase-no-runtime eval '! ls -d /run/cthelper*'
    users >/root/users.after; files >/root/files.after
    verdict erase-users is "$(comm -13 /root/users.before /root/users.after | sort -u | tr '\n' ' ')" 'cthelperd cthelperd-events '
    verdict erase-keeps-configuration [ -f /etc/cthelperd/cthelperd.toml.rpmsave ]
    verdict erase-no-file eval '! left_by_mistake'
    verdict erase-takes-nothing eval '! comm -23 /root/files.before /root/files.after | grep .'
}

dpkg -P nfct >/dev/null
verdict booted booted
as_on_fedora
users >/root/users.before; files >/root/files.before
topology_build && firewall && server_start pyftpdlib || exit
installed
if active; then
    crashed
    upgraded
fi
journalctl -b --no-pager -u cthelperd -n 60 >"$VM_OUT/unit.log"
erased
exit $bad
