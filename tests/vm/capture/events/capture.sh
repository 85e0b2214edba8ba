#!/bin/bash
# capture.sh 6.1|6.12...: makes KERNEL.hex and KERNEL.lines anew: what that kernel told of connections and expectations, and what
# conntrack(8) printed of it at the same time. (Called again by itself inside the guest.) proto/tests/lines.rs compares our lines with these.
# Without a guest, as root: VM_OUT=DIR VM_KERNEL=NAME unshare -n sh -c 'ip link set lo up; capture.sh'.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ -n "${VM_OUT:-}" ]; then
    set +e
    modprobe -a nf_tables nft_ct nf_conntrack_netlink nf_conntrack_ftp
    modprobe -a sctp dccp_ipv4 ip_gre 2>/dev/null
    sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=1 net.netfilter.nf_conntrack_events=1
    ip addr add 10.9.0.1/32 dev lo; ip addr add fd09::1/128 dev lo nodad
    nft -f - <<'NFT' || exit
table inet t {
    ct helper ftp { type "ftp" protocol tcp; l3proto ip; }
    chain zones {
        type filter hook output priority -300
        udp dport 5001 ct original zone set 7
        udp dport 5002 ct zone set 9
    }
    chain out {
        type filter hook output priority -150
        tcp dport 21 ct helper set "ftp"
        udp dport 5003 ct mark set 0x1234
        udp dport 5004 ct label set 5
        tcp dport 5005 ct mark set 7 ct label set 127
    }
}
table ip n {
    chain out {
        type nat hook output priority -100
        tcp dport 5006 dnat to 127.0.0.1:5000
    }
}
NFT
    LC_ALL=C conntrack -E >"$VM_OUT/flows" 2>"$VM_OUT/conntrack.err" &
    flows=$!
    LC_ALL=C conntrack -E expect >"$VM_OUT/expects" 2>>"$VM_OUT/conntrack.err" &
    expects=$!
    sleep 2
    /usr/bin/python3 "$here/capture.py" "$VM_OUT/$VM_KERNEL.hex" || exit
    kill -INT $flows $expects; wait
    # The name of the program that caused an event is looked for by conntrack(8) alone.
    cat "$VM_OUT/flows" "$VM_OUT/expects" | sed 's/ progname=.*//' >"$VM_OUT/$VM_KERNEL.lines"
    wc -l "$VM_OUT/$VM_KERNEL".*
    exit
fi
for kernel in "${@:?usage: capture.sh 6.1|6.12...}"; do
    out=$here/../../../../target/vm/capture-events-$kernel
    "$here/../../boot.sh" --kernel "$kernel" --out "$out" --timeout 300 "$0"
    mv "$out/$kernel".{hex,lines} "$here/"
done
