#!/bin/bash
# Process 1 of the guest after the switch to the host's root: finishes the mounts, runs the
# task with its output on the virtio port, leaves the status in VM_OUT, powers off.
. /.vm-task
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=${TERM:-dumb}

mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock /dev/pts /dev/shm /sys/kernel/security /sys/fs/cgroup
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t securityfs securityfs /sys/kernel/security 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# The machine's /lib may be a link to usr/lib; its own /lib/modules is not the guest's.
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$VM_IMAGE/modules" "/lib/modules/$(uname -r)"
# devtmpfs has no udev: give the standard links.
ln -sf /proc/self/fd /dev/fd; ln -sf /proc/self/fd/0 /dev/stdin
ln -sf /proc/self/fd/1 /dev/stdout; ln -sf /proc/self/fd/2 /dev/stderr
ip link set lo up
hostname vm

port=/dev/vport0p1
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -c $port ] && break; sleep 0.1; done
[ -c $port ] || { port=$(ls /dev/vport* 2>/dev/null | head -n 1); port=${port:-/dev/console}; }

cd "$REPO" || exit
: >"$VM_OUT/started"
"$@" </dev/null >$port 2>&1
echo $? >"$VM_OUT/status"
sync
echo o >/proc/sysrq-trigger
read -rt 60 _ <>/dev/console   # a process 1 must not end before the power does
