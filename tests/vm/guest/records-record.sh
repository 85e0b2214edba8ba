#!/bin/bash
# records-record.sh: the captures rpc, tns, sane, amanda and ftp of tests/replay/vm, by hand: `tests/vm/boot.sh --kernel 6.1
# tests/vm/guest/records-record.sh` leaves them in VM_OUT. Each is what the router sees of a helper's port, without NAT, while cthelperd serves and
# all cases of records.sh and ftp-matrix.sh run; replay must find in them what it found. The status files beside them say how much that was.
. "$REPO/tests/vm/guest/records.sh"
. "$REPO/tests/vm/guest/ftp-matrix.sh"

RECORDERS=()

# record NAME PORT
record() {
    "$REPO/tests/vm/guest/datagrams/record.py" "$VM_OUT/$1.pcap" c0 $2 & RECORDERS+=($!)
    wait_for 10 test -s "$VM_OUT/$1.pcap"
}
# recorded NAME: with what was counted meanwhile.
recorded() {
    sleep 1
    kill "${RECORDERS[@]}"; wait "${RECORDERS[@]}"
    RECORDERS=()
    ours_status >"$VM_OUT/$1-status.json"
    source_stop
}

: >"$VM_OUT/results"
RECORDS_NFS=yes RECORDS_SECONDS=20
topology_build
records_peers && records_source ours && records_rules none || exit
record rpc 111; record tns 1521; record sane 6566; record amanda 10080
records_cases record none
recorded records
records_peers_stop

server_start pyftpdlib && source_start ours && topology_rules none "$HELPER" || exit
record ftp 21
cases record -none curl client 10.0.2.2 fd00:2::2
recorded ftp
server_stop
! grep FAIL "$VM_OUT/results"
