#!/usr/bin/python3
"""death-session.py HOST passive|active FOLDER REPEATS: control connections across the supervisor's death.

Opens one and downloads; says FOLDER/ready.PID. When FOLDER/dead appears, opens a second one, on which only commands can go; the
connect may have repeated its SYN that often, not more; says FOLDER/met.PID. When FOLDER/back appears, downloads on the first, the second
and a third one. Any failure is one line on stdout and status 1.
"""
import ftplib
import os
import socket
import struct
import sys
import time

host, mode, folder = sys.argv[1:4]
repeats = int(sys.argv[4])
expected = open("/run/ftp/file", "rb").read()


def fail(when, what):
    sys.exit(print(f"{when}: {what}") or 1)


def session(when):
    try:
        ftp = ftplib.FTP(timeout=30)
        ftp.trust_server_pasv_ipv4_address = True
        ftp.connect(host, 21)
        ftp.login()
        ftp.set_pasv(mode == "passive")
        return ftp
    except (OSError, EOFError, ftplib.Error) as error:
        fail(when, f"{type(error).__name__} {error}")


def download(ftp, when):
    got = bytearray()
    try:
        ftp.retrbinary("RETR file", got.extend)
    except (OSError, EOFError, ftplib.Error) as error:
        fail(when, f"{type(error).__name__} {error}")
    if got != expected:
        fail(when, f"the bytes differ ({len(got)} of {len(expected)})")


def repeated(sock):
    """tcpi_total_retrans: after a connect, the SYNs that were sent again."""
    return struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]


def connect():
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as sock:
        sock.settimeout(30)
        begin = time.monotonic()
        try:
            sock.connect((host, 21))
        except OSError as error:
            fail("while it is dead", f"connect: {error}")
        return repeated(sock), time.monotonic() - begin


def say(word):
    open(f"{folder}/{word}.{os.getpid()}", "w").close()


def wait_for(word):
    end = time.monotonic() + 120
    while not os.path.exists(f"{folder}/{word}"):
        if time.monotonic() > end:
            fail(word, "nobody said it")
        time.sleep(0.05)


old = session("before")
download(old, "before")
say("ready")
wait_for("dead")
again, took = connect()
if again > repeats:
    fail("while it is dead", f"the SYN was repeated {again} times, {took:.1f} s")
between = session("while it is dead")
try:
    between.voidcmd("NOOP")
    old.voidcmd("NOOP")
except (OSError, EOFError, ftplib.Error) as error:
    fail("while it is dead", f"NOOP: {error}")
say("met")
wait_for("back")
download(old, "after, opened before")
download(between, "after, opened while it was dead")
download(session("after"), "after")
