#!/bin/bash
# capture.sh 6.1|6.12...: makes the .hex files of this folder anew on those kernels.
# (Called again by itself inside the guest.) They are committed: tests of the codecs read them.
set -euo pipefail
if [ -n "${VM_OUT:-}" ]; then
    . "$REPO/tests/vm/guest/topology.sh"
    set +e
    topology_build
    modprobe -a nfnetlink_cthelper nfnetlink_queue nf_conntrack_netlink
    exec /usr/bin/python3 "$REPO/tests/vm/capture/capture.py" "$VM_OUT" "$VM_KERNEL"
fi
here=$(cd "$(dirname "$0")" && pwd)
for kernel in "${@:?usage: capture.sh 6.1|6.12...}"; do
    out=$here/../../../target/vm/capture-$kernel
    "$here/../boot.sh" --kernel "$kernel" --out "$out" --timeout 200 "$0"
    mv "$out/$kernel"-*.hex "$here/"
done
