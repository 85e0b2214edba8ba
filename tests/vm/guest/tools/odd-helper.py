#!/usr/bin/env python3
"""Registers a helper whose name is no text: nfct itself knows only those it is built with."""
import socket
import struct


def attr(kind, value):
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + bytes(-length % 4)


def be32(number):
    return struct.pack(">I", number)


NESTED = 0x8000
tuple_ = attr(1, struct.pack(">H", socket.AF_INET)) + attr(2, bytes([socket.IPPROTO_UDP]))
policy = attr(1, b"odd\0") + attr(2, be32(1)) + attr(3, be32(30))
body = (
    struct.pack("=BBH", socket.AF_UNSPEC, 0, 0)
    + attr(1, b"o\xffd\x1b[2J\0")
    + attr(2 | NESTED, tuple_)
    + attr(4 | NESTED, attr(1, be32(1)) + attr(2 | NESTED, policy))
    + attr(5, be32(0))
)
# NFNL_SUBSYS_CTHELPER 9, NFNL_MSG_CTHELPER_NEW 0; REQUEST | ACK | CREATE
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
netlink.send(struct.pack("=IHHII", 16 + len(body), 9 << 8, 1 | 4 | 0x400, 1, 0) + body)
(error,) = struct.unpack_from("=i", netlink.recv(4096), 16)
raise SystemExit(f"errno {-error}" if error else 0)
