#!/bin/bash
# Process 1 of the guest after the switch to a root with systemd: leaves the task as a service, its output on the virtio port, and
# becomes systemd. The service leaves the task's status in VM_OUT and powers off.
. /.vm-task
mkdir -p "/lib/modules/$(uname -r)"
mount --bind "$VM_IMAGE/modules" "/lib/modules/$(uname -r)"
echo vm >/etc/hostname
# A root that has its identity is not booted for the first time: nothing is preset, nobody is asked.
echo 0123456789abcdef0123456789abcdef >/etc/machine-id
mkdir -p /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRateLimitBurst=0\n' >/etc/systemd/journald.conf.d/vm.conf
cat >/.vm-run <<'RUN'
#!/bin/bash
. /.vm-task
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb
cd "$REPO" || exit
: >"$VM_OUT/started"
"$@" </dev/null >"$(ls /dev/vport* | head -n 1)" 2>&1
echo $? >"$VM_OUT/status"
journalctl -b --no-pager -o short-monotonic >"$VM_OUT/journal" 2>&1
sync
echo o >/proc/sysrq-trigger
RUN
chmod 755 /.vm-run
cat >/etc/systemd/system/vm-task.service <<'UNIT'
[Unit]
Description=The task of this virtual machine
[Service]
Type=exec
ExecStart=/.vm-run
UNIT
mkdir -p /etc/systemd/system/multi-user.target.wants
ln -sf ../vm-task.service /etc/systemd/system/multi-user.target.wants/vm-task.service
exec /lib/systemd/systemd
