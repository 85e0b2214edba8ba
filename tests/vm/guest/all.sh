#!/bin/bash
# all.sh [SOURCE...]: everything the rung runs on one kernel, in one boot. Default: all three
# sources. Lines go to stdout and VM_OUT/results; ../run counts them.
. "$REPO/tests/vm/guest/ftp-matrix.sh"
. "$REPO/tests/vm/guest/ftp-extra.sh"
. "$REPO/tests/vm/guest/supervisor-death.sh"
. "$REPO/tests/vm/guest/chaos.sh"
. "$REPO/tests/vm/guest/sandbox.sh"
. "$REPO/tests/vm/guest/datagrams.sh"
. "$REPO/tests/vm/guest/own-filter.sh"
. "$REPO/tests/vm/guest/tools.sh"
. "$REPO/tests/vm/guest/events.sh"
. "$REPO/tests/vm/guest/events-two.sh"
. "$REPO/tests/vm/guest/records.sh"
. "$REPO/tests/vm/guest/chains.sh"
. "$REPO/tests/vm/guest/outside.sh"
[ $# -gt 0 ] || set -- kernel conntrackd ours

: >"$VM_OUT/results"
topology_build
server_start pyftpdlib || exit
for source in "$@"; do
    good=0 total=0
    if ! source_start $source; then
        result $source start "did not come up: $(tail -n 1 "$VM_OUT/$([ $source = ours ] && echo cthelperd || echo $source).log" 2>/dev/null)"
        source_stop
        continue
    fi
    matrix $source curl
    if [ $source = ours ]; then
        extra_vsftpd
        extra_lftp
        extra_local
        extra_repeat
        extra_split
        extra_kill
        extra_operate
        extra_end
        extra_unclean
        extra_log
        extra_death
        server_start vsftpd && { chaos; own_filter; }
        hostile $HOSTILE
        tools
        server_start pyftpdlib && events
    else
        source_stop
    fi
done
server_stop
[ -z "$SOURCE_PID" ] || source_stop
case " $* " in *" ours "*) events_two; chains ;; esac
for source in "$@"; do datagrams $source; done
records_all "$@"
case " $* " in *" ours "*) outside ;; esac
exit 0
