#!/usr/bin/python3
"""load.py HOST passive|active COUNT FOLDER: control connections that are busy until FOLDER/stop appears.

Opens COUNT, downloads on each, says FOLDER/ready.PID; then talks on all of them in turn. Every 2 s it tries a download; what came of these is
printed at the end, `N moved, N not`, for the helper may be away for a moment. After FOLDER/stop it downloads on each once more. A connection
that breaks, or a download before or after that fails, is one line on stdout and status 1.
"""
import ftplib
import os
import sys
import time

host, mode, count, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
expected = open("/run/ftp/file", "rb").read()


def fail(when, what):
    sys.exit(print(f"{when}: {what}") or 1)


def session():
    ftp = ftplib.FTP(timeout=60)
    ftp.trust_server_pasv_ipv4_address = True
    ftp.connect(host, 21)
    ftp.login()
    ftp.set_pasv(mode == "passive")
    return ftp


def download(ftp, when):
    got = bytearray()
    try:
        ftp.retrbinary("RETR file", got.extend)
    except (OSError, EOFError, ftplib.Error) as error:
        fail(when, f"{type(error).__name__} {error}")
    if got != expected:
        fail(when, f"the bytes differ ({len(got)} of {len(expected)})")


def attempt():
    """A download on a connection of its own: 1 if it came through."""
    try:
        with session() as ftp:
            ftp.sock.settimeout(30)
            ftp.timeout = 30
            got = bytearray()
            ftp.retrbinary("RETR file", got.extend)
            return got == expected
    except (OSError, EOFError, ftplib.Error):
        return False


def main():
    sessions = [session() for _ in range(count)]
    for ftp in sessions:
        download(ftp, "before")
    open(f"{folder}/ready.{os.getpid()}", "w").close()
    said, outcomes, next_attempt = 0, [0, 0], time.monotonic()
    while not os.path.exists(f"{folder}/stop"):
        for ftp in sessions:
            try:
                ftp.voidcmd("NOOP")
            except (OSError, EOFError, ftplib.Error) as error:
                fail("meanwhile", f"{type(error).__name__} {error}")
            said += 1
        if time.monotonic() >= next_attempt:
            outcomes[not attempt()] += 1
            next_attempt = time.monotonic() + 2
    for ftp in sessions:
        download(ftp, "after")
        ftp.quit()
    print(f"{said} commands; downloads meanwhile: {outcomes[0]} moved, {outcomes[1]} not")


main()
