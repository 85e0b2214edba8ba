#!/usr/bin/python3
"""sessions.py TRANSFERS HOST4 HOST6 SEED QUIT: long-lived control connections, many downloads on each.

Six sessions at a time, one for each way to announce: IPv4 PASV EPSV PORT EPRT, IPv6 EPSV EPRT. Each downloads its share of
TRANSFERS, from a random place of /run/ftp/file to its end, over its only control connection; nothing is tried twice. Besides, a
hostile client comes again and again, says what a fragile worker cannot bear, and is gone. When all are done the control connections
stay open until the file QUIT is there; then each must still answer NOOP.

A line per session on stdout, `CASE GOOD of SHARE, slowest S s` and what went wrong first. Status 0 if nothing did.
"""
import ftplib
import os
import random
import socket
import struct
import sys
import threading
import time

transfers, host4, host6, seed, quit_file = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
CASES = ["ipv4-pasv", "ipv4-epsv", "ipv4-port", "ipv4-eprt", "ipv6-epsv", "ipv6-eprt"]
HARMS = ["PANIC", "SYSCALL", "SPIN", "EAT", "HANG"]
# Seconds for one step of a session. A segment whose worker died is sent again by TCP: 0.2 s, 0.4 s, 0.8 s … later.
PATIENCE = 60
expected = open("/run/ftp/file", "rb").read()
over = threading.Event()


class Session(ftplib.FTP):
    """FTP that announces in one way only."""

    def __init__(self, case):
        super().__init__(timeout=PATIENCE)
        self.case = case
        self.trust_server_pasv_ipv4_address = True
        self.connect(host6 if case.startswith("ipv6") else host4, 21)
        self.login()
        self.set_pasv(case.endswith(("pasv", "epsv")))

    def makepasv(self):
        if self.case.endswith("pasv"):
            return super().makepasv()
        return ftplib.parse229(self.sendcmd("EPSV"), self.sock.getpeername())

    def makeport(self):
        sock = socket.create_server(("", 0), family=self.af, backlog=1)
        sock.settimeout(PATIENCE)
        port, host = sock.getsockname()[1], self.sock.getsockname()[0]
        if self.case.endswith("port"):
            self.sendport(host, port)
        else:
            self.sendeprt(host, port)
        return sock


def session(case, share, said):
    dice, good, slowest, ftp, wrong = random.Random(f"{seed} {case}"), 0, 0.0, None, ""
    try:
        ftp = Session(case)
        for _ in range(share):
            start, at, got = time.monotonic(), dice.randrange(len(expected) - 16000, len(expected) - 1000), bytearray()
            ftp.retrbinary("RETR file", got.extend, rest=at)
            if got != expected[at:]:
                raise ValueError(f"the bytes differ ({len(got)} of {len(expected) - at})")
            done.append(time.monotonic() - begin)
            good, slowest = good + 1, max(slowest, time.monotonic() - start)
    except (OSError, EOFError, ValueError, ftplib.Error) as error:
        wrong = f": {type(error).__name__} {error}"
    said[case] = (good == share, f"{case} {good} of {share}, slowest {slowest:.1f} s{wrong}", ftp)


def hostile():
    """Says one thing, and resets the connection before TCP says it again (after 0.2 s): each copy would end one worker."""
    dice, n = random.Random(f"{seed} hostile"), 0
    while not over.wait(dice.uniform(1.5, 3.0)):
        try:
            with socket.create_connection((host6 if n % 2 else host4, 21), timeout=PATIENCE) as sock:
                sock.recv(512)
                sock.sendall(f"SITE {HARMS[n % len(HARMS)]}\r\n".encode())
                time.sleep(0.1)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # a worker's end may cost this one its connection: nobody promised it anything
        n += 1


def tell():
    """How far all of them are, for the log."""
    while not over.wait(10):
        print(f"{time.monotonic() - begin:.0f} s: {len(done)} of {transfers} done", file=sys.stderr, flush=True)


said, done, begin = {}, [], time.monotonic()
threads = [threading.Thread(target=session, args=(case, transfers // len(CASES), said)) for case in CASES]
enemy = threading.Thread(target=hostile)
for thread in threads + [enemy, threading.Thread(target=tell)]:
    thread.start()
for thread in threads:
    thread.join()
over.set()
enemy.join()
for case in CASES:
    print(said[case][1], flush=True)
print("idle", flush=True)
while not os.path.exists(quit_file):
    time.sleep(0.1)
lives = 0
for case in CASES:
    try:
        said[case][2].voidcmd("NOOP")
        said[case][2].quit()
        lives += 1
    except (AttributeError, OSError, EOFError, ftplib.Error) as error:
        print(f"{case} at the end: {type(error).__name__} {error}")
print(f"{lives} of {len(CASES)} control connections live", flush=True)
sys.exit(not (lives == len(CASES) and all(right for right, *_ in said.values())))
