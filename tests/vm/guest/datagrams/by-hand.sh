#!/bin/bash
# by-hand.sh: peers that are too much for every run: Samba (nmbd answers nmblookup), Kea (answers dhclient), pyslp 0.1.7 (its slpd answers).
#   apt-get install samba samba-common-bin kea-dhcp6-server; pip download pyslp==0.1.7 and unpack it, PYSLP=FOLDER
# `tests/vm/boot.sh --kernel 6.1 tests/vm/guest/datagrams/by-hand.sh PYSLP`. NetBIOS names with the kernel's helper, too; the others with conntrackd's.
. "$REPO/tests/vm/guest/datagrams.sh"
PYSLP=$1

samba() {   # source
    local why how
    # The second is where nmbd has its socket, whatever its configuration says.
    mkdir -p /run/samba-vm /run/samba
    printf '[global]\nnetbios name = SERVER\nworkgroup = W\ninterfaces = 10.0.2.2/24\nbind interfaces only = yes\n%s' \
        "$(printf '%s directory = /run/samba-vm\n' lock state cache private pid)" >/run/smb-server.conf
    printf '[global]\nnetbios name = ROUTER\ninterfaces = s0\n%s' \
        "$(printf '%s directory = /run/samba-vm/client\n' lock state cache private)" >/run/smb-router.conf
    mkdir -p /run/samba-vm/client
    ip netns exec server nmbd -F --no-process-group --debug-stdout -s /run/smb-server.conf >>"$VM_OUT/nmbd.log" 2>&1 &
    PEERS+=($!)
    for how in '' --recursion -r; do   # -r: from port 137
        why=''
        datagram_rules none nbns || { result "$1-by-hand" "nmblookup$how" 'nft refused the rules'; continue; }
        # nmbd answers broadcasts once it has registered its names.
        wait_for 60 nmblookup_finds $how || why=$(tail -n 1 /run/nmblookup.log)
        { echo "== $1 nmblookup $how"; cat /run/nmblookup.log; conntrack -L expect; } >>"$VM_OUT/questions.log" 2>/dev/null
        result "$1-by-hand" "nmblookup$how" "$why"
    done
}

nmblookup_finds() {
    nmblookup -s /run/smb-router.conf "$@" -B 10.0.2.255 SERVER >/run/nmblookup.log 2>&1
    grep -q '^10\.0\.2\.2 SERVER<00>' /run/nmblookup.log || return 1
}

dhcpv6_kea() {
    cat >/run/kea.json <<'CONF'
{ "Dhcp6": { "interfaces-config": { "interfaces": [ "eth0" ] }, "lease-database": { "type": "memfile", "persist": false },
  "subnet6": [ { "id": 1, "subnet": "fd00:2::/64", "interface": "eth0", "pools": [ { "pool": "fd00:2::1000-fd00:2::1fff" } ] } ],
  "loggers": [ { "name": "kea-dhcp6", "severity": "INFO", "output_options": [ { "output": "stdout" } ] } ] } }
CONF
    mkdir -p /run/kea /var/lib/kea
    exec ip netns exec server env KEA_LOCKFILE_DIR=none KEA_PIDFILE_DIR=/run/kea kea-dhcp6 -c /run/kea.json
}

# The package is of Python 3.10 and older: what it asks of asyncio is put back.
slp_pyslp() {   # source
    local why=''
    PYTHONPATH=$PYSLP ip netns exec server /usr/bin/python3 -c '
import asyncio, types
asyncio.coroutine = types.coroutine
from pyslp.slpd import create_slpd
loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop)
create_slpd(["10.0.2.2"], loop=loop)
loop.run_forever()' >>"$VM_OUT/pyslp.log" 2>&1 &
    PEERS+=($!)
    wait_for 20 eval 'ip netns exec server ss -Hlun | grep -q ":427 "'
    sleep 2
    datagram_rules none slp || { result "$1-by-hand" pyslp 'nft refused the rules'; return; }
    "$PEER" ask slp 4 s0 6 >/run/answer 2>&1 || why='no answer came'
    result "$1-by-hand" pyslp "$why"
}

: >"$VM_OUT/results"
topology_build
ip route replace multicast 224.0.0.0/4 dev s0
for source in kernel conntrackd ours; do
    good=0 total=0
    datagram_source $source || { result "$source-by-hand" start 'did not come up'; continue; }
    [ $source = conntrackd ] || samba $source
    if [ $source != kernel ]; then
        dhcpv6_case $source kea dhclient dhcpv6_by_dhclient
        [ -z "$PYSLP" ] || slp_pyslp $source
    fi
    datagram_peers_end
    datagram_source_stop
    summary "$source-by-hand"
done
