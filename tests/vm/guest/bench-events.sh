#!/bin/bash
# bench-events.sh [FLOWS [RATES]]: tests/perf/events on this guest's kernel, at a twentieth of the native rates, because the
# emulation is about twenty times slower than the machine. Its rows are left in VM_OUT/bench-events.
set -o pipefail
# conntrack's -b does not reach the socket it reads events from (1.4.7; ss -f netlink -m): this does.
sysctl -qw net.core.rmem_default=33554432
modprobe -a nf_tables nft_ct nf_conntrack nf_conntrack_netlink
echo "kernel $(uname -r)"
"$REPO/target/vm/bin/events-bench" --flows "${1:-3000}" --rates "${2:-250,1000,0}" | tee "$VM_OUT/bench-events"
