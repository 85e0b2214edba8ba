# For sourcing by scripts that test an installation on a small Debian 12 with systemd: sets repo, fatal, and on_debian.
# Making the root takes root once, see debian-root.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
name=$(basename "$0")
kernel=${1:-6.1}
out=$repo/target/vm/$name
fatal() { echo "$name: $*" >&2; echo '0 passed, 1 failed'; exit 1; }

"$here/install-deps.sh" || fatal "packages are missing"

# on_debian SCRIPT ARGS: boots the root, runs the script, counts its lines `ours-NAME KERNEL CASE ok|FAIL (why)`, and ends with what came of it.
on_debian() {
    local root status passed failed
    root=$("$here/debian-root") || fatal "no root to boot"
    "$here/boot.sh" --kernel "$kernel" --out "$out" --timeout "${VM_TIMEOUT:-900}" --systemd "$root" "$@"
    status=$?
    passed=$(grep -c "^ours-$name .* ok\$" "$out/results" 2>/dev/null)
    failed=$(grep -c "^ours-$name .* FAIL" "$out/results" 2>/dev/null)
    if [ $status -ne 0 ] && [ "${failed:-0}" = 0 ]; then
        echo "FAILED: the run ended early (status $status)"
        failed=1
    fi
    echo "${passed:-0} passed, ${failed:-0} failed"
    [ "${failed:-0}" = 0 ]
    exit
}
