#!/bin/bash
# sandbox.sh [FILTER...]: the sandbox rung as root on this kernel, on what its landlock and seccomp enforce (default: the rows that
# depend on them). The test runner's own summary comes out, and a line of ours; what failed is in VM_OUT/sandbox.log.
. "$REPO/tests/vm/guest/ftp-matrix.sh"

# The rows whose outcome is the kernel's doing; how a lane takes lies is the same everywhere. Two hundred workers take minutes here.
HOSTILE='escapes:: rules:: witness:: keeper:: --skip two_hundred'

hostile() {
    local begin=$SECONDS said name
    good=0 total=0
    # The emulated machine takes its time, and two workers at once keep its processors busy.
    "$REPO/target/vm/bin/sandbox" --test-threads=2 "$@" >"$VM_OUT/sandbox.log" 2>&1
    while read -r name said; do result ours-sandbox "${name//::/.}" "${said#ok}"
    done < <(sed -n 's/^test \([^ ]*\) \.\.\. \(ok\|FAILED\)$/\1 \2/p' "$VM_OUT/sandbox.log")
    grep '^test result:' "$VM_OUT/sandbox.log" || result ours-sandbox run "no result: $(tail -n 1 "$VM_OUT/sandbox.log")"
    [ $total -gt 0 ] || result ours-sandbox run 'no test ran'
    echo "sandbox: landlock ABI $(landlock_abi), $((SECONDS - begin)) s"
    summary ours-sandbox
}
# landlock_create_ruleset(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION); it has the same number everywhere.
landlock_abi() { /usr/bin/python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))'; }

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    : >"$VM_OUT/results"
    [ $# -gt 0 ] || set -- $HOSTILE
    hostile "$@"
    [ $good -eq $total ]
fi
