#!/usr/bin/python3
"""capture.py FILE: makes connections of every protocol the kernel tracks, and records the datagrams of their events as hex text."""
import os
import socket
import struct
import subprocess
import sys
import threading
import time

V4, V6 = "10.9.0.1", "fd09::1"
record = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
record.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
record.bind((0, 0))  # An unbound socket is taken for the kernel and passed over.
for group in (1, 2, 3, 4, 6):
    record.setsockopt(270, 1, group)


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def stream(host, port, proto=0, talk=(), kind=socket.SOCK_STREAM):
    """A connection to a server of our own, which says `talk`."""
    server = socket.socket(family(host), kind, proto)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen()
    client = socket.socket(family(host), kind, proto)
    thread = threading.Thread(target=client.connect, args=((host, port),))
    thread.start()
    serving, _ = server.accept()
    thread.join()
    for line in talk:   # the kernel's helper reads a line only behind one that it has seen end
        serving.send(line)
        client.recv(99)
    client.close()
    serving.close()
    server.close()


def datagram(host, port, proto=0, answer=True):
    server = socket.socket(family(host), socket.SOCK_DGRAM, proto)
    server.bind((host, port))
    client = socket.socket(family(host), socket.SOCK_DGRAM, proto)
    client.sendto(b"x", (host, port))
    _, peer = server.recvfrom(9)
    if answer:
        server.sendto(b"y", peer)
        client.recv(9)


def raw(host, proto, packet):
    socket.socket(family(host), socket.SOCK_RAW, proto).sendto(packet, (host, 0))


def dccp():
    made = socket.socket(socket.AF_INET, 6, 33)
    made.setsockopt(269, 2, struct.pack("!I", 1))
    made.bind((V4, 5007))
    made.listen()
    client = socket.socket(socket.AF_INET, 6, 33)
    client.setsockopt(269, 2, struct.pack("!I", 1))
    client.connect((V4, 5007))
    client.close()
    made.close()


def redirected():
    server = socket.create_server(("127.0.0.1", 5000))
    client = socket.create_connection((V4, 5006))
    client.close()
    server.close()


def attempt(what, make):
    try:
        make()
        print(f"made: {what}")
    except OSError as error:
        print(f"not made: {what}: {error}")
    time.sleep(0.2)


echo = struct.pack("!BBHHH", 8, 0, 0xffff - 0x0800 - 77, 77, 0)
attempt("tcp", lambda: stream(V4, 5000))
attempt("tcp6", lambda: stream(V6, 5000))
attempt("tcp with mark and label", lambda: stream(V4, 5005))
attempt("tcp with a helper, and its expectation", lambda: stream(V4, 21, talk=(b"220 ready\r\n", b"227 Entering Passive Mode (10,9,0,1,40,1)\r\n")))
attempt("tcp, translated", redirected)
attempt("udp", lambda: datagram(V4, 5000))
attempt("udp without answer", lambda: datagram(V4, 5000, answer=False))
attempt("udp6", lambda: datagram(V6, 5000))
attempt("udp with a zone of one direction", lambda: datagram(V4, 5001))
attempt("udp with a zone", lambda: datagram(V4, 5002))
attempt("udp with a mark", lambda: datagram(V4, 5003))
attempt("udp with a label", lambda: datagram(V4, 5004))
attempt("udplite", lambda: datagram(V4, 5000, proto=136))
attempt("sctp", lambda: stream(V4, 5000, proto=132))
attempt("dccp", dccp)
attempt("icmp", lambda: raw(V4, 1, echo))
attempt("icmpv6", lambda: raw(V6, 58, bytes([128, 0, 0, 0, 0, 99, 0, 0])))
attempt("gre", lambda: raw(V4, 47, struct.pack("!HHHHI", 0x3001, 0x880b, 4, 0x1234, 0) + b"ppp!"))
attempt("a protocol without ports", lambda: raw(V4, 89, b"x" * 24))
for words in ("-U -p udp --orig-port-dst 5003 -m 9", "-D -p udp", "-D -p tcp --orig-port-dst 21", "-F"):
    subprocess.run(["conntrack", *words.split()], capture_output=True, check=False)
    time.sleep(0.3)
time.sleep(1)

record.setblocking(False)
with open(sys.argv[1], "w", encoding="ascii") as out:
    out.write(f"# events of connections and expectations; kernel {os.uname().release}, {os.uname().machine}\n")
    try:
        while True:
            out.write(record.recv(1 << 16).hex() + "\n")
    except BlockingIOError:
        pass
