#!/usr/bin/python3
"""misbehave.py HOST AUDIT WITHIN_MS CTHELPERCTL RUNTIME_DIR HARM...: makes the FTP worker go wrong in these ways, one after another.

By a line of FTP (panic syscall eat hang spin), or by SIGSTOP (stop). A line for each on stdout: `NAME ok CAUSE after MS ms`, or `NAME what is wrong`.
"""
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

host, audit, within, ctl, runtime_dir = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]
# What is asked for, and what the audit log must call it.
HUNG = ("worker_hung", "")
EXPECTED = {
    "panic": [("worker_crashed", "exit 101")],
    "syscall": [("worker_crashed", "SIGSYS")],
    # It calls for more than it took before it sealed itself, which it may not; or its deadline comes first.
    "eat": [("worker_crashed", "SIGSYS"), HUNG],
    "hang": [HUNG],
    "spin": [HUNG],
    "stop": [HUNG],
}


def ends():
    with open(audit, encoding="utf-8") as file:
        records = [json.loads(line) for line in file if line.endswith("\n")]
    return [r for r in records if r.get("helper") == "ftp" and r["event"] in ("worker_crashed", "worker_hung", "worker_out_of_turn")]


def serving():
    """The pid of the worker that serves, once one does."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        said = subprocess.run([ctl, "--runtime-dir", runtime_dir, "status", "--json"], stdout=subprocess.PIPE, check=False).stdout
        helper = [h for h in json.loads(said or b'{"helpers":[]}')["helpers"] if h["name"] == "ftp"]
        pids = [w["pid"] for h in helper if h["state"] == "serving" for w in h["workers"] if not w["spare"]]
        if pids:
            return pids[0]
        time.sleep(0.1)
    raise TimeoutError("no worker serves")


def harm(name):
    """Does it; gives the time of doing, and a connection to be reset."""
    sock = socket.create_connection((host, 21), timeout=20)
    sock.recv(512)
    if name == "stop":
        os.kill(serving(), signal.SIGSTOP)
        line = "NOOP\r\n"
    else:
        line = f"SITE {name.upper()}\r\n"
    start = time.time()
    sock.sendall(line.encode())
    return start, sock


def settled():
    """The number of ends, once nobody has ended for a second."""
    before = -1
    while before != len(ends()):
        before = len(ends())
        time.sleep(1)
    return before


def try_one(name, expected):
    before = settled()
    serving()
    start, sock = harm(name)
    until, found = time.monotonic() + 15, []
    while not found and time.monotonic() < until:
        time.sleep(0.05)
        # Not one that was on its way: TCP says the line of the harm before again.
        found = [end for end in ends()[before:] if end["time"] >= start]
    # Or TCP sends the line again and the next worker comes to harm.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    if not found:
        return "nobody ended"
    took = round((found[0]["time"] - start) * 1000)
    said = found[0].get("cause", found[0].get("said"))
    if not any(found[0]["event"] == event and cause in said for event, cause in expected):
        return f"{found[0]['event']}: {said}"
    return f"ok {said} after {took} ms" if took <= within else f"took {took} ms, {within} are allowed"


for name in sys.argv[6:]:
    try:
        print(name, try_one(name, EXPECTED[name]), flush=True)
    except (OSError, ValueError, KeyError) as error:
        print(name, type(error).__name__, error, flush=True)
