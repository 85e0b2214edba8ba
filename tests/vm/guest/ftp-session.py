#!/usr/bin/python3
"""ftp-session.py HOST passive|active|split COMMAND...: one control connection, two downloads.

Logs in, downloads, runs COMMAND (which harms the helper), downloads again on the same control
connection. `split` is active with every PORT and EPRT cut in two segments. Both downloads must have the bytes of /run/ftp/file. Any failure is one line on stdout
and status 1.
"""
import ftplib
import socket
import subprocess
import sys
import time

host, mode, command = sys.argv[1], sys.argv[2], sys.argv[3:]
expected = open("/run/ftp/file", "rb").read()


def download(ftp, when):
    got = bytearray()
    try:
        ftp.retrbinary("RETR file", got.extend)
    except (OSError, EOFError, ftplib.Error) as error:
        sys.exit(print(f"{when}: {type(error).__name__} {error}") or 1)
    if got != expected:
        sys.exit(print(f"{when}: the bytes differ ({len(got)} of {len(expected)})") or 1)


class Split(ftplib.FTP):
    """Sends an announcement in two segments, a moment apart."""

    def putline(self, line):
        if line[:5] not in ("PORT ", "EPRT "):
            return super().putline(line)
        data = (line + ftplib.CRLF).encode()
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.sendall(data[: len(data) // 2])
        time.sleep(0.1)
        self.sock.sendall(data[len(data) // 2 :])


ftp = (Split if mode == "split" else ftplib.FTP)(timeout=30)
ftp.trust_server_pasv_ipv4_address = True
ftp.connect(host, 21)
ftp.login()
ftp.set_pasv(mode == "passive")
download(ftp, "before")
harmed = subprocess.run(command, stdout=subprocess.PIPE, text=True)
if harmed.returncode:
    sys.exit(print(harmed.stdout.strip() or f"{command} failed") or 1)
download(ftp, "after")
ftp.quit()
