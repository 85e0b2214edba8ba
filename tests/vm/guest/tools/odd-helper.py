#!/usr/bin/env python3
"""odd-helper.py [NAME [STATUS]]: registers a helper as no nfct does, whose only class is `odd`; without a name, one whose name is no text."""
import socket
import struct
import sys


def attr(kind, value):
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def be32(number):
    return struct.pack(">I", number)


NESTED = 0x8000
name = sys.argv[1].encode() if len(sys.argv) > 1 else b"o\xffd\x1b[2J"
status = int(sys.argv[2]) if len(sys.argv) > 2 else 0
tuple_ = attr(1, struct.pack(">H", socket.AF_INET)) + attr(2, bytes([socket.IPPROTO_UDP]))
policy = attr(1, b"odd\0") + attr(2, be32(1)) + attr(3, be32(30))
body = (
    struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
    + attr(1, name + b"\0")
    + attr(2 | NESTED, tuple_)
    + attr(4 | NESTED, attr(1, be32(1)) + attr(2 | NESTED, policy))
    + attr(5, be32(0))
    + attr(6, be32(status))
)
# NFNL_SUBSYS_CTHELPER 9, NFNL_MSG_CTHELPER_NEW 0; REQUEST | ACK | CREATE
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
netlink.send(struct.pack("=IHHII", 16 + len(body), 9 << 8, 1 | 4 | 0x400, 1, 0) + body)
(error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
raise SystemExit(f"errno {-error}" if error else 0)
