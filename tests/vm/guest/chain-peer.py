#!/usr/bin/python3
"""chain-peer.py server                        speaks the protocol of tests/src/bin/chain on UDP port 1719, for ever
chain-peer.py client HOST tcp|udp [BETWEEN [plain]]
                                               goes through its three steps; BETWEEN is a shell command to be run between an OPEN and what
                                               counts only after it, in every step; plain: without an OPEN, that nothing is to be remembered

tcp: the server says where it listens for `call` and `media`, the client for the data.
udp: `call` is a datagram, whose first one says where the client listens for `media`; there the server says where it listens for the data.
Exit 0 = the data came; else the last line says how far it went."""
import socket
import subprocess
import sys
import threading

PORT, DATA = 1719, bytes(range(256)) * 400
PATIENCE = 8


def listener(family, kind):
    sock = socket.socket(family, kind)
    sock.settimeout(3 * PATIENCE)
    sock.bind(("", 0))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock, sock.getsockname()[1]


def line(sock, said):
    """The next line of a stream; `said` keeps what came behind it."""
    while b"\n" not in said:
        more = sock.recv(4096)
        if not more:
            raise OSError("the connection ended")
        said += more
    first, _, rest = bytes(said).partition(b"\n")
    said[:] = rest
    return first.decode().strip()


def port_of(text):
    words = text.split()
    if len(words) < 3 or words[-3] != "LISTEN":
        raise OSError(f"no place to go in {text!r}")
    return int(words[-1])


def connect(address, port):
    sock = socket.create_connection((address, port), PATIENCE)
    sock.settimeout(3 * PATIENCE)
    return sock


# ---- server --------------------------------------------------------------------------------------

def serve():
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        sock = socket.socket(family, socket.SOCK_DGRAM)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, PORT))
        threading.Thread(target=admit, args=(sock, family)).start()


def admit(sock, family):
    while True:
        asked, peer = sock.recvfrom(1500)
        if asked == b"OPEN":
            sock.sendto(b"OPEN", peer)
            continue
        kind = socket.SOCK_STREAM if b"tcp" in asked else socket.SOCK_DGRAM
        there, port = listener(family, kind)
        threading.Thread(target=guarded, args=(call if kind == socket.SOCK_STREAM else call_by_datagram, there)).start()
        sock.sendto(f"{'THEN ' if asked.startswith(b'THEN') else ''}LISTEN {asked.split()[-1].decode()} {port}".encode(), peer)


def guarded(step, there):
    try:
        step(there)
    except OSError as error:
        print("server:", error, flush=True)


def requests(there):
    """Of one connection: itself, its peer, and what is asked besides to open it, which is answered here."""
    sock, peer = there.accept()
    sock.settimeout(3 * PATIENCE)
    said = bytearray()
    while True:
        asked = line(sock, said)
        if asked == "OPEN":
            sock.sendall(b"OPEN\r\n")
        else:
            yield sock, peer, asked


def call(there):
    for sock, _, asked in requests(there):
        media, port = listener(there.family, socket.SOCK_STREAM)
        threading.Thread(target=guarded, args=(media_by_client, media)).start()
        sock.sendall(f"{'THEN ' if asked.startswith('THEN') else ''}LISTEN tcp {port}\r\n".encode())


def media_by_client(there):
    for _, peer, asked in requests(there):
        data = connect(peer[0], port_of(asked))
        data.sendall(DATA)
        data.close()


def call_by_datagram(there):
    asked, peer = there.recvfrom(1500)
    sock = connect(peer[0], port_of(asked.decode()))
    data, port = listener(there.family, socket.SOCK_STREAM)
    sock.sendall(b"OPEN\r\n")
    line(sock, bytearray())
    sock.sendall(f"THEN LISTEN tcp {port}\r\n".encode())
    stream, _ = data.accept()
    stream.sendall(DATA)
    stream.close()


# ---- client --------------------------------------------------------------------------------------

def go(host, kind, between, plain):
    steps = ["admit"]
    pause = (lambda: subprocess.run(between, shell=True, check=True)) if between else (lambda: None)
    then = "THEN " if between and not plain else ""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE)
        sock.connect((host, PORT))
        if then:
            sock.send(b"OPEN")
            sock.recv(1500)
        pause()
        sock.send(f"{then}CALL {kind}".encode())
        port = port_of(sock.recv(1500).decode())
        steps.append("call")
        (by_stream if kind == "tcp" else by_datagram)(host, port, family, pause, then, steps)
    except (OSError, ValueError) as error:
        sys.exit(f"{steps[-1]}: {error}")


def by_stream(host, port, family, pause, then, steps):
    def open_then(sock, said, text):
        if then:
            sock.sendall(b"OPEN\r\n")
            line(sock, said)
        pause()
        sock.sendall(f"{then}{text}\r\n".encode())

    said = bytearray()
    sock = connect(host, port)
    open_then(sock, said, "MEDIA")
    port = port_of(line(sock, said))
    steps.append("media")
    media = connect(host, port)
    there, mine = listener(family, socket.SOCK_STREAM)
    there.settimeout(PATIENCE)
    open_then(media, bytearray(), f"LISTEN tcp {mine}")
    steps.append("data")
    read_all(there.accept()[0])


def by_datagram(host, port, family, pause, then, steps):
    there, mine = listener(family, socket.SOCK_STREAM)
    there.settimeout(PATIENCE)
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect((host, port))
    sock.send(f"LISTEN tcp {mine}".encode())
    steps.append("media")
    media, _ = there.accept()
    media.settimeout(3 * PATIENCE)
    said = bytearray()
    line(media, said)
    pause()
    media.sendall(b"OPEN\r\n")
    port = port_of(line(media, said))
    steps.append("data")
    read_all(connect(host, port))


def read_all(sock):
    sock.settimeout(3 * PATIENCE)
    got = bytearray()
    while more := sock.recv(65536):
        got += more
    if bytes(got) != DATA:
        raise OSError(f"{len(got)} of {len(DATA)} bytes, or others")


if sys.argv[1] == "server":
    serve()
else:
    go(sys.argv[2], sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else "", "plain" in sys.argv[5:])
