#!/bin/bash
# systemd.sh: in a guest whose process 1 is systemd. Installs as packaging/doc/by-hand.md says and looks at what becomes of the unit.
LABEL=ours-systemd
. "$REPO/tests/vm/guest/unit.sh"
. "$REPO/tests/vm/guest/package/kept.sh"

readme_install() {
    cd "$REPO" || return
    install -m 755 target/release/cthelperd target/release/cthelperctl /usr/sbin/ &&
    install -D -m 755 target/release/cthelper-worker /usr/libexec/cthelperd/cthelper-worker &&
    mkdir -p /etc/cthelperd && echo '[helper.ftp]' >/etc/cthelperd/cthelperd.toml &&
    install -m 644 packaging/systemd/*.service /etc/systemd/system/ &&
    install -m 644 packaging/sysusers.d/cthelperd.conf /usr/lib/sysusers.d/ && systemd-sysusers &&
    install -D -m 644 packaging/journald/cthelperd.catalog /usr/lib/systemd/catalog/cthelperd.catalog && journalctl --update-catalog &&
    install -m 644 packaging/tmpfiles.d/cthelperd.conf /usr/lib/tmpfiles.d/ && systemd-tmpfiles --create &&
    systemctl daemon-reload
}
verify_quiet() { local said; said=$(systemd-analyze verify --man=no cthelperd.service cthelperd-disarm.service cthelperd-events@1.service 2>&1); [ -z "$said" ] || { echo "$said"; return 1; }; }

started() {
    verdict install readme_install
    verdict unit-verifies verify_quiet
    verdict starts systemctl enable --now cthelperd
    verdict active active
    verdict serving wait_for 20 serving
    verdict status-text is "$(unit StatusText)" serving
    verdict helper-enabled enabled
    verdict keeper-runs keeper
    verdict queue-in-store eval '[ "$(unit NFileDescriptorStore)" -ge 1 ]'
    systemctl status --no-pager cthelperd
    ours_status >"$VM_OUT/status.json"; cthelperctl doctor >"$VM_OUT/doctor" 2>&1
}

worker_line() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(ours_worker)/status"; }
landlock_abi() { python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))'; }
confined() {
    local w; w=$(ours_worker)
    verdict worker-runs [ -n "$w" ]
    verdict worker-no-capabilities is "$(worker_line CapPrm)$(worker_line CapBnd)" 00000000000000000000000000000000
    verdict worker-user is "$(worker_line Uid | cut -f1)" "$(id -u cthelperd)"
    verdict worker-seccomp is "$(worker_line Seccomp)" 2
    verdict worker-witnessed eval '[ "$(worker_line TracerPid)" -gt 0 ]'
    local n
    for n in net ipc mnt uts; do
        verdict "worker-own-$n" eval '[ "$(readlink /proc/'$w/ns/$n')" != "$(readlink /proc/'$(supervisor)/ns/$n')" ]'
    done
    # All that this kernel has: 6.1 knows the second version of landlock's interface, and no PR_SET_MDWE.
    verdict worker-landlock eval 'journalctl -b --no-pager -o cat CTHELPER_EVENT=worker_started | tail -n 1 |
        grep -E "landlock: (partly )?enforced \(abi '"$(landlock_abi)"'\)"'
    verdict doctor eval '! grep "^FAIL" "$VM_OUT/doctor"'
}

crashed() {
    local had id line
    verdict journal-worker-started eval '[ "$(entries CTHELPER=ftp CTHELPER_EVENT=worker_started)" -ge 1 ]'
    had=$(entries CTHELPER=ftp CTHELPER_EVENT=worker_crashed)
    kill -SEGV "$(ours_worker)"
    verdict journal-worker-crashed wait_for 20 crash_found "$had"
    line=$(journalctl -b --no-pager -o json CTHELPER=ftp CTHELPER_EVENT=worker_crashed | tail -n 1)
    printf '%s\n' "$line" >"$VM_OUT/crash.json"
    id=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["CTHELPER_CRASH"])' <<<"$line")
    verdict journal-message-id is "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["MESSAGE_ID"])' <<<"$line")" \
        e3df1b1658184ed895eea497cc77c3f4
    verdict journal-unit is "$(python3 -c 'import json, sys; print(json.load(sys.stdin)["_SYSTEMD_UNIT"])' <<<"$line")" cthelperd.service
    verdict journal-explains eval 'journalctl -b --no-pager -x CTHELPER_EVENT=worker_crashed | grep -q "cthelperctl crashes show '"$id"'"'
    verdict crash-listed eval 'cthelperctl crashes list | grep -q "'"$id"'"'
    verdict serves-after-crash wait_for 20 serving
}

reloaded() {
    local pid; pid=$(supervisor)
    verdict reload systemctl reload cthelperd
    echo 'nonsense = 1' >>/etc/cthelperd/cthelperd.toml
    verdict reload-wrong-file-said eval '! systemctl reload cthelperd'
    verdict reload-wrong-file-stays active
    echo '[helper.ftp]' >/etc/cthelperd/cthelperd.toml
    verdict reload-same-process is "$(supervisor)" "$pid"
    verdict reload-serving serving
}

adoptions() { entries CTHELPER_EVENT=adopted; }
killed() {
    local pid port keeper adopted
    pid=$(supervisor) port=$(queue_port) keeper=$(keeper) adopted=$(adoptions)
    # Looks as fast as it can whether the helper is disabled in between.
    touch /run/looking
    while [ -e /run/looking ]; do [ "$(helpers disabled)" = 0 ] || echo disabled; sleep 0.05; done >/run/looked &
    kill -KILL "$pid"
    verdict killed-restarted wait_for 60 another "$pid"
    rm /run/looking; wait $!
    verdict killed-never-disabled is "$(wc -l </run/looked)" 0
    verdict killed-same-socket is "$(queue_port)" "$port"
    # Each life has one of its own.
    verdict killed-another-keeper eval '[ "$(keeper)" != '"$keeper"' ]'
    verdict killed-one-keeper is "$(keepers)" 1
    verdict killed-adopted-in-journal [ "$(adoptions)" -gt "$adopted" ]
    verdict killed-adopted-in-audit grep -q '"event":"adopted"' /var/log/cthelperd/audit.jsonl
}
both_killed() {
    local pid port
    pid=$(supervisor) port=$(queue_port)
    kill -KILL "$pid" "$(keeper)"
    verdict both-killed-restarted wait_for 60 another "$pid"
    verdict both-killed-same-socket is "$(queue_port)" "$port"
    verdict both-killed-keeper-again wait_for 10 keeper
}

replace() { cp "$REPO/target/release/$1" "$2.new" && chmod 755 "$2.new" && mv "$2.new" "$2"; }
upgraded() {
    local pid; pid=$(supervisor)
    replace cthelperd /usr/sbin/cthelperd; replace cthelperctl /usr/sbin/cthelperctl
    replace cthelper-worker /usr/libexec/cthelperd/cthelper-worker
    verdict upgrade-restart systemctl restart cthelperd
    verdict upgrade-serving wait_for 20 another "$pid"
    verdict upgrade-enabled enabled
    verdict upgrade-one-keeper is "$(keepers)" 1
    verdict upgrade-no-deleted-file eval '! ls -l /proc/[0-9]*/exe 2>/dev/null | grep "cthelper.*deleted"'
}

stopped() {
    verdict stop systemctl stop cthelperd
    verdict stop-result is "$(unit Result)" success
    verdict stop-status-text is "$(unit StatusText)" ''
    verdict stop-disabled disabled
    verdict stop-store-empty is "$(unit NFileDescriptorStore)" 0
    verdict stop-no-keeper wait_for 5 no_keeper
    verdict stop-no-queue [ -z "$(queue_port)" ]
    verdict stop-nobody-left eval '[ -z "$(pgrep -f "cthelperd|cthelper-worker" -a | grep -v -e pgrep -e "$VM_OUT" -e "$0")" ]'
    verdict start-again systemctl start cthelperd
    verdict start-again-serving wait_for 20 serving
    verdict start-again-enabled enabled
}

given_up() {
    local end=$((SECONDS + 120)) pid
    verdict given-up-rules cthelperctl rules nft --apply
    systemctl reset-failed cthelperd
    while [ $SECONDS -lt $end ] && ! failed; do
        pid=$(supervisor)
        [ "$pid" = 0 ] || kill -KILL "$pid" 2>/dev/null
        sleep 0.2
    done
    verdict given-up-failed failed
    verdict given-up-said eval 'journalctl -b --no-pager -o cat -u cthelperd | grep "Start request repeated too quickly"'
    verdict given-up-disarm-ran wait_for 20 eval '[ "$(property cthelperd-disarm.service ActiveState)" = inactive ]'
    verdict given-up-disarm-result is "$(property cthelperd-disarm.service Result)" success
    verdict given-up-disabled disabled
    verdict given-up-no-keeper wait_for 5 no_keeper
    verdict given-up-no-queue [ -z "$(queue_port)" ]
    verdict given-up-no-table wait_for 20 no_table
    systemctl reset-failed cthelperd
    verdict given-up-then-started systemctl start cthelperd
    verdict given-up-then-enabled enabled
    verdict given-up-then-rules table
}

verdict booted booted
systemctl --failed --no-legend --no-pager
started
if active; then
    confined
    crashed
    reloaded
    killed
    both_killed
    upgraded
    stopped
    given_up
else
    journalctl -b --no-pager -u cthelperd -n 40
fi
systemd-analyze security --no-pager cthelperd.service >"$VM_OUT/security" 2>&1
tail -n 1 "$VM_OUT/security"
exit $bad
