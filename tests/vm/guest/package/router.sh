# For sourcing by package.sh and rpm.sh: a router that drops by default, with rules that attach what is served; transfers and a load through it;
# what is on the disk.
LOAD=/run/load

# Where it does not start, what it said, in one line.
events_start() { systemctl enable --now cthelperd-events@1 || { journalctl -b --no-pager -o cat -u cthelperd-events@1 -n 6 | paste -sd '|'; return 1; }; }
# A reader that has failed for good, which a unit does not do by itself.
reader_fails() {
    local unit=cthelperd-events@9.service
    mkdir -p /run/systemd/system/$unit.d
    printf '[Service]\nRestart=no\n' >/run/systemd/system/$unit.d/once.conf
    systemctl daemon-reload
    systemctl start $unit
    wait_for 20 eval '[ "$(property '$unit' ActiveState)" = failed ]'
    local status=$?
    rm -r /run/systemd/system/$unit.d
    systemctl daemon-reload
    return $status
}

# What is on the disk, but for what apt, dpkg and the system's own services write.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /var/cache \
        -o -path /var/lib/apt -o -path /var/log/journal -o -path /var/log/apt -o -path /root -o -path "$VM_OUT" \) -prune -o -print |
        grep -v -x -e /var/log/dpkg.log -e '/var/lib/systemd/.*' -e '/etc/\(passwd\|group\|shadow\|gshadow\)-' -e '/etc/.*lock' -e /var/lib/logrotate/status -e '.*/__pycache__\(/.*\)\?' | sort
}
users() { cut -d: -f1 /etc/passwd /etc/group | sort; }
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
every_kind_moves() {
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
