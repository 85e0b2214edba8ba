#!/usr/bin/python3
"""fd-store.py SOCKET COMMAND...: a service manager with a file descriptor store, as far as cthelperd uses systemd's.

Starts COMMAND with NOTIFY_SOCKET, keeps what it sends with FDSTORE=1, drops it with FDSTOREREMOVE=1, and when COMMAND is killed by a
signal starts it again, after a second, with what it keeps as LISTEN_FDS. SIGTERM goes on to COMMAND; its exit ends the manager.
"""
import array
import os
import signal
import socket
import subprocess
import sys
import time

path, command = sys.argv[1], sys.argv[2:]
store = {}
if os.path.exists(path):
    os.unlink(path)
notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.bind(path)
notify.settimeout(0.1)
child = None
signal.signal(signal.SIGTERM, lambda *_: child.terminate())


def start():
    environment = dict(os.environ, NOTIFY_SOCKET=path)
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        environment.pop(name, None)
    names = list(store)

    def pass_on():
        kept = [os.dup(os.dup2(store[name], 100 + at)) for at, name in enumerate(names)]
        for at, fd in enumerate(kept):
            os.dup2(fd, 3 + at)
        os.environ["LISTEN_PID"] = str(os.getpid())

    if names:
        environment.update(LISTEN_FDS=str(len(names)), LISTEN_FDNAMES=":".join(names))
        # LISTEN_PID must be the program's own, so a shell writes it and becomes the program.
        line = ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "-"] + command
        print("again with", names, flush=True)
        return subprocess.Popen(line, env=environment, close_fds=False, preexec_fn=pass_on)
    return subprocess.Popen(command, env=environment)


def hear():
    rights = socket.CMSG_LEN(4 * 4)
    try:
        text, ancillary, _, _ = notify.recvmsg(4096, rights)
    except (TimeoutError, InterruptedError):
        return
    fds = array.array("i")
    for _, kind, data in ancillary:
        if kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % 4])
    said = dict(line.split("=", 1) for line in text.decode().splitlines() if "=" in line)
    print("heard", said, list(fds), flush=True)
    name = said.get("FDNAME", "stored")
    if said.get("FDSTOREREMOVE") == "1" and name in store:
        os.close(store.pop(name))
    if said.get("FDSTORE") == "1" and fds:
        store[name] = fds[0]


while True:
    child = start()
    while child.poll() is None:
        hear()
    if child.returncode >= 0:
        sys.exit(child.returncode)
    print("killed by signal", -child.returncode, flush=True)
    time.sleep(1)
