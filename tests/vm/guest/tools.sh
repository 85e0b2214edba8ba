#!/bin/bash
# tools.sh [BIN]: cthelperctl beside the programs it stands in for, on this kernel. BIN: folder of the programs
# (default target/release). A line per case; what differs is in VM_OUT/tools.*.
. "$REPO/tests/vm/guest/ftp-matrix.sh"
TOOLS=$REPO/tests/vm/guest/tools

tools() {
    good=0 total=0
    tools_nfct
    summary ours-tools
}

# same CASE FILE FILE: both are alike, or the first line that is not.
same() {
    local differs
    differs=$(diff "$2" "$3" | grep '^[<>]' | head -n 2 | tr '\n' ' ')
    result ours-tools "$1" "$differs"
}

# Every line of nfct-lines with the nfct of conntrack-tools and with ours: words, status, and what the kernel then has.
tools_nfct() {
    mkdir -p /run/tools-nfct
    ln -sf "$BIN/cthelperctl" /run/tools-nfct/nfct
    modprobe -a nfnetlink_cthelper nfnetlink_cttimeout
    _nfct_all "$PATH" >"$VM_OUT/tools.nfct.theirs" 2>&1
    _nfct_all "/run/tools-nfct:$PATH" >"$VM_OUT/tools.nfct.ours" 2>&1
    same nfct "$VM_OUT/tools.nfct.theirs" "$VM_OUT/tools.nfct.ours"
    result ours-tools nfct-lines "$([ "$(grep -c '^=> 0' "$VM_OUT/tools.nfct.theirs")" -ge 60 ] || echo "nfct itself hardly ran")"
}
# In a namespace of its own, for the timeouts; the helpers are the machine's, and flushed first.
_nfct_all() {
    /usr/sbin/nfct helper flush
    PATH=$1 ip netns exec client bash -c '
        while read -r line; do
            case $line in "#"*) continue ;; esac
            echo "\$ nfct $line"
            eval "nfct $line" 2>&1; echo "=> $?"
            case $line in l\ *|list*|get*|default-g*) continue ;; esac
            { /usr/sbin/nfct timeout list; /usr/sbin/nfct helper list; } | cksum
        done <"$0"' "$TOOLS/nfct-lines" | sed 's/^nfct v[^ ]*: /nfct vV: /'
    # As they were, for the next one.
    ip netns exec client nfct flush timeout
    ip netns exec client nfct default-set timeout inet tcp established 432000
    ip netns exec client nfct default-set timeout inet udp unreplied 30 replied 120
    /usr/sbin/nfct helper flush
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
    BIN=${1:-$BIN}
    : >"$VM_OUT/results"
    topology_build
    tools
    [ $good -eq $total ]
fi
