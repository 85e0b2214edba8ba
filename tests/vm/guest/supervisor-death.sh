#!/bin/bash
# The supervisor is killed (SIGKILL), alone, with its keeper, as a service; for sourcing after ftp-matrix.sh, with nothing running. Under
# source NAT, where a connection that is not confirmed fails outright.

DEATH=/run/death

keeper_pid() { pgrep -f '^/proc/self/exe keeper [0-9]+ [0-9]+$' | head -n 1; }
keeper_there() { [ -n "$(keeper_pid)" ]; }
keeper_gone() { [ -z "$(keeper_pid)" ]; }
# There is one keeper, it is not the process FORMER, and it is the program that is served with.
keeper_is_its_own() {   # FORMER
    [ "$(pgrep -fc '^/proc/self/exe keeper [0-9]+ [0-9]+$')" = 1 ] && [ "$(keeper_pid)" != "$1" ] &&
        [ "$(readlink "/proc/$(keeper_pid)/exe")" = "$BIN/cthelperd" ]
}
queue_line() { grep -m 1 '^ *62[0-9][0-9] ' /proc/net/netfilter/nfnetlink_queue; }
queue_column() { queue_line | awk -v n="$1" '{ print $n }'; }
is_disabled() { [ "$("$BIN/cthelperctl" nfct list helper | grep -c 'status = disabled')" = 2 ]; }
adopted() { grep -c '"event":"adopted"' "$VM_OUT/audit.jsonl"; }
# The one process of ours that is no role: the supervisor, also behind a manager.
supervisor_pid() { pgrep -f '^[^ ]*/cthelperd run ' | head -n 1; }

# verdict CASE COMMAND...: ok if the command says yes.
verdict() {
    local name=$1; shift
    if "$@"; then result ours-death "$name" ''; else result ours-death "$name" "no: $*"; fi
}

# death_sessions REPEATS: starts one for each family and mode; their files are DEATH/why.*
death_sessions() {
    local family mode
    rm -rf $DEATH; mkdir -p $DEATH
    SESSIONS=()
    for family in 4 6; do
        for mode in passive active; do
            ip netns exec client "$REPO/tests/vm/guest/death-session.py" "$(topology_target snat $family)" $mode $DEATH $1 \
                >$DEATH/why.ipv$family-$mode 2>>"$VM_OUT/transfers.log" &
            SESSIONS+=("$!:ipv$family-$mode")
        done
    done
}
said_by_all() { [ "$(ls $DEATH/$1.* 2>/dev/null | wc -l)" = ${#SESSIONS[@]} ]; }
# A session that has failed says nothing more: do not wait for it in vain.
said_or_over() {
    local s alive=0
    said_by_all "$1" && return 0
    for s in "${SESSIONS[@]}"; do kill -0 "${s%%:*}" 2>/dev/null && alive=1; done
    [ $alive = 1 ] && return 1
    return 2
}
death_sessions_end() {   # LABEL
    local s why
    for s in "${SESSIONS[@]}"; do
        wait "${s%%:*}" && why='' || why=$(tail -n 1 "$DEATH/why.${s#*:}")
        result ours-death "$1-${s#*:}" "$why"
    done
}

death_load() {   # downloads over both families until DEATH/quiet; successes are lines of DEATH/moved
    local family
    for family in 4 6; do
        while [ ! -e $DEATH/quiet ]; do
            transfer curl client "$(topology_target snat $family)" epsv 10 >/dev/null && echo $family >>$DEATH/moved
        done &
        LOAD+=($!)
    done
}

# The same programs as another build: a successor of another version finds the keeper of this one.
another_build() {
    local program
    mkdir -p /run/another-build
    for program in cthelperd cthelperctl cthelper-worker; do strip -o /run/another-build/$program "$BIN/$program"; done
}

death_load_moves() { [ "$(sort -u $DEATH/moved 2>/dev/null | wc -l)" = 2 ]; }

# As a service manager would: on a machine that is emulated and busy, a worker's start may take longer than it may.
death_start() {
    for _ in 1 2 3; do
        source_start ours && return 0
        kill -TERM $SOURCE_PID 2>/dev/null; wait $SOURCE_PID 2>/dev/null
    done
    return 1
}

kill_supervisor() {
    local pid
    pid=$(supervisor_pid)
    kill -KILL "$pid"
    wait_for 20 _gone "$pid"
}

# Sessions across the death of the supervisor. `load`: with downloads in the background. `stuck`: with these, and packets that the
# supervisor has read and its worker does not answer, and packets that it has not read.
death_and_return() {   # LABEL [load|stuck]
    local before port line keeper
    LOAD=()
    before=$(adopted) keeper=$(keeper_pid)
    death_sessions 1
    wait_for 120 said_or_over ready
    if [ -n "${2:-}" ]; then
        death_load
        wait_for 90 death_load_moves; verdict "$1-load-moves" [ $? = 0 ]
    fi
    if [ "${2:-}" = stuck ]; then
        kill -STOP "$(ours_worker)"; sleep 0.4
        kill -STOP "$(supervisor_pid)"
        wait_for 20 eval '[ "$(queue_column 3)" -gt 1 ]'; verdict "$1-packets-are-stuck" [ $? = 0 ]
    fi
    port=$(queue_column 2)
    kill_supervisor
    wait $SOURCE_PID 2>/dev/null
    verdict "$1-queue-still-bound" [ "$(queue_column 2)" = "$port" ]
    verdict "$1-not-disarmed" eval '! is_disabled'
    : >$DEATH/dead
    wait_for 90 said_or_over met
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor 2>/dev/null | grep -q 'waits for the next daemon'
    verdict "$1-doctor-knows" [ $? = 0 ]
    verdict "$1-unheld-leaves-it" eval '[ -z "$("$BIN/cthelperctl" disarm --unheld)" ]'
    verdict "$1-packets-wait" [ "$(queue_column 3)" -gt 0 ]
    death_start || { result ours-death "$1-start" "$(tail -n 1 "$VM_OUT/cthelperd.log")"; return; }
    : >$DEATH/back
    verdict "$1-same-socket" [ "$(queue_column 2)" = "$port" ]
    verdict "$1-adopted" [ "$(adopted)" = $((before + 1)) ]
    verdict "$1-keeper-is-its-own" keeper_is_its_own "$keeper"
    if [ -n "${2:-}" ]; then
        rm -f $DEATH/moved
        wait_for 90 death_load_moves; verdict "$1-load-goes-on" [ $? = 0 ]
    fi
    death_sessions_end "$1"
    : >$DEATH/quiet
    [ ${#LOAD[@]} -eq 0 ] || wait "${LOAD[@]}"
    sleep 1
    line=$(queue_line)
    verdict "$1-nothing-waits" [ "$(awk '{ print $3 }' <<<"$line")" = 0 ]
    verdict "$1-nothing-dropped" [ "$(awk '{ print $6 + $7 }' <<<"$line")" = 0 ]
}

# Killed with its keeper: the queue is gone, the helper enabled; the next start repairs it.
death_of_both() {
    kill -KILL "$(supervisor_pid)" "$(keeper_pid)"
    wait $SOURCE_PID 2>/dev/null
    wait_for 20 keeper_gone
    verdict both-queue-gone [ -z "$(queue_line)" ]
    "$BIN/cthelperctl" --runtime-dir $CTHELPERD_RUN doctor 2>/dev/null | grep -q 'NEW CONNECTIONS WITH THIS HELPER BREAK'
    verdict both-doctor-knows [ $? = 0 ]
    death_start; verdict both-start [ $? = 0 ]
    verdict both-keeper wait_for 20 keeper_there
    verdict both-ipv4 eval 'transfer curl client "$(topology_target snat 4)" pasv 20'
    verdict both-ipv6 eval 'transfer curl client "$(topology_target snat 6)" eprt 20'
}

# A keeper that dies alone is replaced, and the new one is as good.
death_of_keeper() {
    local pid
    pid=$(keeper_pid)
    kill -KILL "$pid"
    wait_for 20 _gone "$pid"
    verdict keeper-replaced wait_for 20 keeper_there
    sleep 1
    verdict keeper-no-trouble eval '[ -z "$(ours_status | grep keeper-lost)" ]'
    death_and_return keeper
}

# A keeper that stands still gives nothing: the next start serves without what it holds, and it ends when it goes on.
death_with_hung_keeper() {
    local keeper
    keeper=$(keeper_pid)
    kill -STOP "$keeper"
    kill_supervisor
    wait $SOURCE_PID 2>/dev/null
    death_start; verdict hung-start [ $? = 0 ]
    verdict hung-helped eval 'transfer curl client "$(topology_target snat 4)" epsv 20'
    kill -CONT "$keeper"
    verdict hung-then-ends wait_for 20 _gone "$keeper"
    verdict hung-keeper-is-its-own keeper_is_its_own "$keeper"
    verdict hung-one-queue wait_for 20 eval '[ "$(grep -c "^ *62[0-9][0-9] " /proc/net/netfilter/nfnetlink_queue)" = 1 ]'
}

# A restart that hands over: what comes meanwhile waits for the successor.
death_hand_over() {
    local before keeper
    before=$(adopted) keeper=$(keeper_pid)
    death_sessions 4
    wait_for 120 said_or_over ready
    kill -USR1 "$(supervisor_pid)"
    wait $SOURCE_PID
    verdict hand-over-status [ $? = 0 ]
    : >$DEATH/dead
    death_start; verdict hand-over-start [ $? = 0 ]
    wait_for 90 said_or_over met
    : >$DEATH/back
    death_sessions_end hand-over
    verdict hand-over-adopted [ "$(adopted)" = $((before + 1)) ]
    verdict hand-over-keeper-is-its-own keeper_is_its_own "$keeper"
}

# Nobody comes back: `disarm` lets connections pass without the helper, and the keeper ends.
death_without_return() {
    kill_supervisor
    wait $SOURCE_PID 2>/dev/null
    "$BIN/cthelperctl" disarm >/run/disarm.log
    verdict disarm-disabled is_disabled
    verdict disarm-keeper-ends wait_for 20 keeper_gone
    verdict disarm-queue-gone [ -z "$(queue_line)" ]
    verdict disarm-connects ip netns exec client timeout 10 bash -c 'exec 3<>/dev/tcp/10.0.2.2/21; read -r -t 8 line <&3; [ "${line:0:3}" = 220 ]'
    death_start; verdict disarm-start [ $? = 0 ]
    verdict disarm-then-helped eval 'transfer curl client "$(topology_target snat 4)" epsv 20'
}

# The next start has another runtime folder: the ledger knows where the keeper is, and a keeper in the new folder takes its place.
death_elsewhere() {
    local before port
    before=$(adopted) port=$(queue_column 2)
    kill_supervisor
    wait $SOURCE_PID 2>/dev/null
    CTHELPERD_RUN=/run/cthelperd-elsewhere
    death_start; verdict elsewhere-start [ $? = 0 ]
    verdict elsewhere-adopted [ "$(adopted)" = $((before + 1)) ]
    verdict elsewhere-same-socket [ "$(queue_column 2)" = "$port" ]
    verdict elsewhere-one-keeper wait_for 20 eval '[ "$(pgrep -fc "^/proc/self/exe keeper [0-9]+ [0-9]+$")" = 1 ]'
    verdict elsewhere-helped eval 'transfer curl client "$(topology_target snat 4)" epsv 20'
}

# An orderly stop leaves no queue, no keeper, no socket of it; connections go on, and with the next start are helped again.
death_orderly() {
    death_sessions 1
    wait_for 120 said_or_over ready
    kill -TERM $SOURCE_PID
    wait_for 20 _gone $SOURCE_PID
    wait $SOURCE_PID
    verdict orderly-status [ $? = 0 ]
    verdict orderly-disabled is_disabled
    verdict orderly-keeper-ends wait_for 20 keeper_gone
    verdict orderly-no-socket [ ! -e $CTHELPERD_RUN/keeper.sock ]
    verdict orderly-queue-gone [ -z "$(queue_line)" ]
    : >$DEATH/dead
    wait_for 90 said_or_over met
    death_start; verdict orderly-start [ $? = 0 ]
    : >$DEATH/back
    death_sessions_end orderly
    verdict orderly-then-helped eval 'transfer curl client "$(topology_target snat 6)" epsv 20'
    source_halt
}
# Ends `ours` and leaves rules and helpers as they are.
source_halt() { kill -TERM $SOURCE_PID; wait_for 20 _gone $SOURCE_PID; wait $SOURCE_PID; SOURCE_PID=''; }

# As a service with a file descriptor store: supervisor and keeper are killed, the manager has the socket.
death_as_service() {
    local before port
    before=$(adopted)
    # The store alone makes no queue pass what nobody reads: a connection waits for the successor.
    "$REPO/tests/vm/guest/fd-store.py" /run/fd-store.sock "$BIN/cthelperd" run --helper ftp --runtime-dir $CTHELPERD_RUN \
        --audit-log "$VM_OUT/audit.jsonl" >>"$VM_OUT/fd-store.log" 2>&1 &
    SOURCE_PID=$!
    wait_for 15 ours_serving; verdict service-start [ $? = 0 ]
    death_sessions 4
    wait_for 120 said_or_over ready
    port=$(queue_column 2)
    kill -KILL "$(supervisor_pid)" "$(keeper_pid)"
    : >$DEATH/dead
    wait_for 20 eval '[ "$(adopted)" = '$((before + 1))' ]'; verdict service-adopted [ $? = 0 ]
    verdict service-same-socket [ "$(queue_column 2)" = "$port" ]
    wait_for 90 said_or_over met
    : >$DEATH/back
    death_sessions_end service
    source_halt; verdict service-stops [ $? = 0 ]
    verdict service-queue-gone wait_for 20 eval '[ -z "$(queue_line)" ]'
}

# With vsftpd: under load pyftpdlib now and then closes a session by mistake (see ftp-server.py), with and without a helper.
extra_death() {
    local built=$BIN
    good=0 total=0
    server_start vsftpd || { result ours-death server "vsftpd does not listen"; return; }
    source_start ours || { result ours-death start "did not come up"; return; }
    topology_rules snat "$HELPER"
    verdict keeper-runs keeper_there
    verdict keeper-confined eval '[ "$(awk "/^(Uid|CapPrm|CapBnd|NoNewPrivs|Seccomp):/ { print \$2 }" /proc/$(keeper_pid)/status | tr "\n" " ")" \
        = "60642 0000000000000000 0000000000000000 1 2 " ]'
    another_build
    BIN=/run/another-build
    death_and_return load load
    BIN=$built
    death_and_return stuck stuck
    death_of_keeper
    BIN=/run/another-build
    death_hand_over
    BIN=$built
    death_with_hung_keeper
    death_of_both
    death_without_return
    death_elsewhere
    death_orderly
    death_as_service
    summary ours-death
    SOURCE_PID=''
    source_stop
    server_start pyftpdlib
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    . "$REPO/tests/vm/guest/ftp-matrix.sh"
    : >"$VM_OUT/results"; : >"$VM_OUT/audit.jsonl"
    topology_build
    extra_death
    server_stop
    ! grep -q FAIL "$VM_OUT/results"
fi
