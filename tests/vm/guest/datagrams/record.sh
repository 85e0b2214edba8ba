#!/bin/bash
# record.sh: the captures of tests/replay/vm, by hand: `tests/vm/boot.sh --kernel 6.1 tests/vm/guest/datagrams/record.sh` leaves them in
# VM_OUT. Each is what the router sees of one protocol, without NAT, while cthelperd serves; replay must find in them what it found.
. "$REPO/tests/vm/guest/datagrams.sh"

# recorded NAME "IFACE..." COMMAND...
recorded() {
    local name=$1 interfaces=$2; shift 2
    "$REPO/tests/vm/guest/datagrams/record.py" "$VM_OUT/$name.pcap" $interfaces & local recorder=$!
    wait_for 10 test -s "$VM_OUT/$name.pcap"
    "$@"
    sleep 0.5
    kill $recorder; wait $recorder
}

record_tftp() {
    datagram_rules none tftp
    local family why
    for family in 4 6; do why=$(tftp_transfer hpa get $family $(topology_target none $family)); result record tftp-$family "$why"; done
}
record_question() { question record $1 4; [ $1 = nbns ] || question record $1 6; }
record_ssdp() { ssdp_location record 4 ssdp; ssdp_location record 6 ssdp; }
record_event() {
    datagram_rules none ssdp tcp $DEVICE_PORT
    ssdp_event record none 4; ssdp_event record none 6
}

: >"$VM_OUT/results"
topology_build
datagram_source ours || exit
datagram_peers
head -c 1000 /dev/urandom >$TFTP/file
ip route replace multicast 224.0.0.0/4 dev s0
recorded tftp c0 record_tftp
for kind in mdns slp wsd bjnp nbns; do recorded $kind s0 record_question $kind; done
recorded ssdp s0 record_ssdp
recorded ssdp-event c0 record_event
recorded dhcpv6 s0 dhcpv6_case record dnsmasq dhclient dhcpv6_by_dhclient
recorded dhcpv6-relay 'c0 s0' dhcpv6_case record dhcpd relay dhcpv6_by_relay
datagram_peers_end
ours_status >"$VM_OUT/status.json"
datagram_source_stop
! grep FAIL "$VM_OUT/results"
