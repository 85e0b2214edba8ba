#!/bin/bash
# boot.sh --kernel 6.1|6.12|7 [--out DIR] [--timeout S] [--cpus N] [--systemd ROOT] SCRIPT [ARGS]
# Boots that Debian kernel in qemu, runs SCRIPT in it as root, exits with its status.
#
# The guest's root is this machine's own / (9p, read-only, under a tmpfs overlay): every
# program is there, at its own path, and nothing is written back. The one folder that is
# shared for writing is DIR (default target/vm/KERNEL), also at the same path on both sides.
# With --systemd the root is that folder of this machine instead, with its own systemd as process 1
# and SCRIPT as a service of it; REPO and the kernel's modules are mounted into it, at their own paths.
# The script sees REPO, VM_OUT (= DIR), VM_KERNEL, and CHAOS_SEED if it is set here. Its stdout and stderr come out on ours as
# they are written, over a virtio-serial port; kernel messages go to DIR/console.log.
# Needs no root and no KVM: plain emulation, about twenty times slower than the machine.
# Exit: the script's status; 124 = out of time; 70 = the guest died (console.log says why).
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
kernel='' out='' seconds=600 cpus=2 root='' append=''
while [ $# -gt 0 ]; do
    case $1 in
        --kernel)  kernel=$2; shift 2 ;;
        --out)     out=$2; shift 2 ;;
        --timeout) seconds=$2; shift 2 ;;
        --cpus)    cpus=$2; shift 2 ;;
        --systemd) root=$(realpath "$2") append=' systemd.mask=serial-getty@ttyS0.service'; shift 2 ;;
        --*)       echo "boot.sh: unknown option $1" >&2; exit 64 ;;
        *)         break ;;
    esac
done
if [ -z "$kernel" ] || [ $# -eq 0 ]; then
    echo "usage: boot.sh --kernel 6.1|6.12|7 [--out DIR] [--timeout S] [--cpus N] [--systemd ROOT] SCRIPT [ARGS]" >&2
    exit 64
fi
script=$(realpath "$1"); shift
out=${out:-$repo/target/vm/$kernel}
mkdir -p "$out"
out=$(realpath "$out")
image=$("$here/kernel.sh" "$kernel")
release=$(<"$image/release")

# ---- initramfs: busybox, init, and the modules that reach the 9p root --------------------
initramfs=$(mktemp -d)
pids=()
cleanup() {
    [ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null || true
    rm -rf "$initramfs"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$initramfs"/root/{bin,dev,proc,sys,mod,lower,upper,new}
cp "$(PATH=$PATH:/usr/sbin:/sbin command -v busybox)" "$initramfs/root/bin/busybox"
cp "$here/initramfs-init" "$initramfs/root/init"
chmod 755 "$initramfs/root/init"
PATH=$PATH:/usr/sbin:/sbin
for m in virtio_pci virtio_console 9pnet_virtio 9p overlay; do
    modprobe -d "$image" -S "$release" --show-depends "$m"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$initramfs/root/mod/"
    basename "$file" >>"$initramfs/root/mod/order"
done
# What the script is to be told; printf %q quotes it for the guest's shell.
{
    printf 'export REPO=%q VM_OUT=%q VM_KERNEL=%q VM_IMAGE=%q VM_ROOT=%q\n' "$repo" "$out" "$kernel" "$image" "$root"
    [ -z "${CHAOS_SEED:-}" ] || printf 'export CHAOS_SEED=%q\n' "$CHAOS_SEED"
    printf 'set --'; printf ' %q' "$script" "$@"; printf '\n'
} >"$initramfs/root/task"
(cd "$initramfs/root" && find . | cpio --quiet -o -H newc) >"$initramfs/initrd"

# ---- boot ----------------------------------------------------------------------------
# The port is a fifo, read by a cat of our own. (A chardev on stdio counts as hung up when stdin is
# at its end, and the guest's writes then block for ever; it also sets our stdout non-blocking.)
mkfifo "$initramfs/port"

boot() {
    rm -f "$out/started" "$out/status"
    cat "$initramfs/port" & local reader=$!
    timeout --signal=TERM --kill-after=5 "$seconds" \
        qemu-system-x86_64 -M q35 -accel tcg,thread=multi -cpu max -m 2048 -smp "$cpus" \
        -display none -no-reboot -nic none -monitor none -serial "file:$out/console.log" \
        -kernel "$image/vmlinuz" -initrd "$initramfs/initrd" \
        -append "console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off random.trust_cpu=on$append" \
        -virtfs local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap \
        -virtfs "local,path=$out,mount_tag=out,security_model=none,multidevs=remap" \
        -device virtio-serial-pci -chardev "file,id=port,path=$initramfs/port" \
        -device virtserialport,chardev=port,name=port </dev/null &
    pids=($! "$reader")
    status=0
    wait "${pids[0]}" || status=$?
    # A qemu that failed at once never opened the fifo: let the reader's open return.
    timeout 1 bash -c ': >"$1"' - "$initramfs/port" || true
    wait "$reader" || true
    pids=()
}

# Under emulation a kernel now and then panics while it patches its own code at start. That says
# nothing about what is to be tested: a guest that never reached the script is started again.
for _ in 1 2 3; do
    boot
    if [ -e "$out/started" ] || [ $status -ge 124 ]; then break; fi
    cp "$out/console.log" "$out/console-early-death.log"
    echo "boot.sh: kernel $kernel: the guest died before it reached the script (console-early-death.log)" >&2
done

if [ $status -eq 124 ] || [ $status -eq 137 ]; then
    echo "boot.sh: kernel $kernel: out of time after $seconds s, qemu ended" >&2
    exit 124
fi
if [ ! -s "$out/status" ]; then
    echo "boot.sh: kernel $kernel: the guest ended without a result (qemu: $status); last words:" >&2
    tail -n 15 "$out/console.log" >&2
    exit 70
fi
exit "$(<"$out/status")"
