#!/usr/bin/python3
"""capture.py DIR KERNEL: records what this kernel says and accepts on netlink, as hex text.

Runs on the router of ../guest/topology.sh (capture.sh starts it there). It registers a helper, serves
its queues, leads one TCP connection per {IPv4, IPv6} x {none, snat, dnat} plus one from the router
itself through it, creates an expectation for each, lets a second connection use it, and lengthens one
line of each NATed connection. Raw AF_NETLINK sockets and struct only: nothing of what the captures are
to test takes part in making them.

A file KERNEL-WHAT.hex holds one message per line in hex; the '#' line before it says where it came from.
The addresses and ports are those of the topology; ids, ports and sequence numbers are as they came.
"""
import ctypes
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time

OUT, KERNEL = sys.argv[1:3]
REPO = os.environ["REPO"]
CTNETLINK, EXPECT, QUEUE, CTHELPER = 1, 2, 3, 9
REQUEST, MULTI, ACK, DUMP, CREATE, EXCL = 1, 2, 4, 0x300, 0x400, 0x200
NESTED = 0x8000
SOL_NETLINK = 270
V4, V6 = socket.AF_INET, socket.AF_INET6
HELPER, PRIVATE = "ftp-cap", 24
QUEUES = {V4: 100, V6: 101}

files = {}


def save(what, comment, message):
    if what not in files:
        files[what] = open(f"{OUT}/{KERNEL}-{what}.hex", "w")
        files[what].write(f"# {HEADERS[what]}\n# kernel {os.uname().release}, {os.uname().machine}; "
                          "made by tests/vm/capture/capture.py\n")
    files[what].write(f"# {comment}\n{message.hex()}\n")


HEADERS = {
    "queue-packet": "NFQUEUE packet messages (with conntrack) of a helped TCP connection",
    "conntrack-event": "ctnetlink conntrack events: NEW, UPDATE, DESTROY",
    "expect-event": "ctnetlink expectation events: NEW, DESTROY",
    "expect-dump": "ctnetlink expectation dumps: replies and DONE",
    "conntrack-get": "ctnetlink conntrack GET by tuple: replies (flag MULTI, no DONE follows)",
    "cthelper-dump": "cthelper dumps and single GET: replies and DONE",
    "error": "NLMSG_ERROR: acknowledgements and errors, with and without extended ACK",
    "request": "requests this kernel accepted (ACK 0), as they were sent; the effect was seen",
    "refused": "requests this kernel refused; the answer is in the error file under the same words",
}


# ---- netlink ---------------------------------------------------------------------------
def attr(kind, payload):
    return struct.pack("HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind, *attributes):
    return attr(kind | NESTED, b"".join(attributes))


def be32(kind, value):
    return attr(kind, struct.pack(">I", value))


def text(kind, value):
    return attr(kind, value.encode() + b"\0")


def attributes(data):
    while len(data) >= 4:
        size, kind = struct.unpack_from("HH", data)
        if size < 4:
            return
        yield kind & 0x3FFF, data[4:size]
        data = data[(size + 3) & ~3:]


class Netlink:
    def __init__(self, groups=(), ext_ack=True, cap_ack=True):
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        self.socket.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
        self.socket.bind((0, 0))
        self.socket.setsockopt(SOL_NETLINK, 11, int(ext_ack))
        self.socket.setsockopt(SOL_NETLINK, 10, int(cap_ack))
        for group in groups:
            self.socket.setsockopt(SOL_NETLINK, 1, group)
        self.sequence = 100

    def send(self, subsystem, operation, flags, family, resource, *payload):
        self.sequence += 1
        body = struct.pack(">BBH", family, 0, resource) + b"".join(payload)
        message = struct.pack("IHHII", 16 + len(body), subsystem << 8 | operation,
                              flags | REQUEST, self.sequence, 0) + body
        self.socket.send(message)
        return message

    def receive(self, timeout=1.0):
        """The messages of one datagram; none after timeout."""
        if not select.select([self.socket], [], [], timeout)[0]:
            return []
        data, messages = self.socket.recv(1 << 17), []
        while len(data) >= 16:
            size = struct.unpack_from("I", data)[0]
            messages.append(data[:size])
            data = data[(size + 3) & ~3:]
        return messages

    def call(self, comment, *arguments, keep=None):
        """Sends a request with ACK; saves request and answers; returns the errno (0 = accepted)."""
        sent = self.send(*arguments)
        while True:
            for message in self.receive(5):
                kind, flags, sequence = struct.unpack_from("HHI", message, 4)
                if sequence != self.sequence:
                    continue
                if kind == 2:
                    error = -struct.unpack_from("i", message, 16)[0]
                    verdict = os.strerror(error) if error else "accepted"
                    save("error", f"{comment}: {verdict}", message)
                    save("refused" if error else "request", comment, sent)
                    return error
                if keep:
                    save(keep, f"{comment}: {'DONE' if kind == 3 else f'type {kind:#06x}, flags {flags:#x}'}", message)
                if kind == 3:
                    save("request", comment, sent)
                    return 0


def flow_tuple(kind, family, src, dst, sport, dport):
    first, second = (1, 2) if family == V4 else (3, 4)
    return nest(kind,
                nest(1, attr(first, socket.inet_pton(family, src)), attr(second, socket.inet_pton(family, dst))),
                nest(2, attr(1, b"\6"), attr(2, struct.pack(">H", sport)), attr(3, struct.pack(">H", dport))))


def cthelper_new(name, family, queue, classes=(("ftp", 8, 300),), status=1, private=PRIVATE):
    policies = [nest(2 + n, text(1, c), be32(2, limit), be32(3, timeout)) for n, (c, limit, timeout) in enumerate(classes)]
    return (text(1, name), nest(2, attr(1, struct.pack(">H", family)), attr(2, b"\6")), be32(3, queue),
            nest(4, be32(1, len(classes)), *policies), be32(5, private), be32(6, status))


# ---- the packet in a queue message -------------------------------------------------------
def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Packet:
    def __init__(self, message):
        self.family = message[16]
        found = dict(attributes(message[20:]))
        self.id = struct.unpack(">I", found[1][:4])[0]
        self.info = struct.unpack(">I", found[12])[0]
        self.has_ct = 11 in found
        raw = found[10]
        self.ip_size = (raw[0] & 15) * 4 if self.family == V4 else 40
        self.ip, tcp = raw[:self.ip_size], raw[self.ip_size:]
        self.tcp_size = (tcp[12] >> 4) * 4
        self.tcp, self.data = tcp[:self.tcp_size], tcp[self.tcp_size:]
        self.seq, self.flags = struct.unpack(">I", tcp[4:8])[0], tcp[13]

    def name(self):
        flags = "".join(n for bit, n in ((2, "SYN "), (1, "FIN "), (4, "RST "), (16, "ACK ")) if self.flags & bit)
        return f"ctinfo {self.info} {flags}{len(self.data)} bytes"

    def rebuilt(self, data):
        ip, tcp = bytearray(self.ip), bytearray(self.tcp)
        size = len(tcp) + len(data)
        tcp[16:18] = b"\0\0"
        if self.family == V4:
            struct.pack_into(">H", ip, 2, len(ip) + size)
            ip[10:12] = b"\0\0"
            struct.pack_into(">H", ip, 10, checksum(bytes(ip)))
            pseudo = bytes(ip[12:20]) + struct.pack(">HH", 6, size)
        else:
            struct.pack_into(">H", ip, 4, size)
            pseudo = bytes(ip[8:40]) + struct.pack(">II", size, 6)
        struct.pack_into(">H", tcp, 16, checksum(pseudo + bytes(tcp) + data))
        return bytes(ip) + bytes(tcp) + data


# ---- client and server -------------------------------------------------------------------
libc = ctypes.CDLL(None, use_errno=True)


def socket_in(netns, family):
    """A TCP socket of a network namespace; this thread comes back at once."""
    if netns is None:
        return socket.socket(family, socket.SOCK_STREAM)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    try:
        assert libc.setns(there, 0x40000000) == 0
        return socket.socket(family, socket.SOCK_STREAM)
    finally:
        assert libc.setns(here, 0x40000000) == 0
        os.close(here), os.close(there)


def serve(family, port):
    listener = socket_in("server", family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("10.0.2.2" if family == V4 else "fd00:2::2", port))
    listener.listen(8)

    def echo(peer):
        while data := peer.recv(4096):
            peer.sendall(b"200 " + data)
        peer.close()

    def accept():
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


DATA_PORT = 3000


class Client(threading.Thread):
    """Two lines on the control connection, one on the data connection, then the end."""

    def __init__(self, netns, family, host):
        super().__init__(daemon=True)
        self.netns, self.family, self.host, self.replies = netns, family, host, []
        self.control = socket_in(netns, family)
        self.data = socket_in(netns, family)

    def run(self):
        try:
            for connection in self.control, self.data:
                connection.settimeout(10)
            self.control.connect((self.host, 21))
            for line in (b"FIRST\r\n", b"SECOND\r\n"):
                self.control.sendall(line)
                self.replies.append(self.control.recv(4096))
            self.data.connect((self.host, DATA_PORT))
            self.data.sendall(b"DATA\r\n")
            self.replies.append(self.data.recv(4096))
            self.data.close()
            self.control.close()
        except OSError as error:
            self.replies.append(str(error))


# ---- one scenario ------------------------------------------------------------------------
def rules(mode):
    subprocess.run(["bash", "-c", f". {REPO}/tests/vm/guest/topology.sh; topology_rules {mode} {HELPER}"], check=True)


def drain(events, label, seconds=0.3):
    while messages := events.receive(seconds):
        for m in messages:
            kind, flags = struct.unpack_from("HH", m, 4)
            what = {0x100: "NEW" if flags & CREATE else "UPDATE", 0x102: "DESTROY",
                    0x200: "NEW", 0x202: "DESTROY"}.get(kind, f"type {kind:#x}")
            save("expect-event" if kind >> 8 == EXPECT else "conntrack-event", f"{label}: {what}", m)


def scenario(mode, family, netns):
    ipv = 4 if family == V4 else 6
    label = f"ipv{ipv} {mode if netns else 'from the router itself'}"
    nat = mode != "none"
    rules(mode)
    drain(events, "flush before " + label)
    router = "10.0.1.254" if family == V4 else "fd00:1::fe"
    host = router if mode == "dnat" else ("10.0.2.2" if family == V4 else "fd00:2::2")
    lengthen = nat
    client = Client(netns, family, host)
    client.start()
    queue, number = queues[family], QUEUES[family]
    asked = adjusted = False
    end = time.time() + 12
    while (client.is_alive() or time.time() < quiet) and time.time() < end:
        if client.is_alive():
            quiet = time.time() + 0.5
        for message in queue.receive(0.2):
            if struct.unpack_from("H", message, 4)[0] != 0x300:
                continue
            p = Packet(message)
            save("queue-packet", f"{label}: {p.name()}" + (", after a sequence adjustment" if adjusted else ""), message)
            extra, words = b"", None
            if p.info < 3 and p.data == b"FIRST\r\n" and not asked:
                asked = True
                source = client.control.getsockname()
                original = (source[0], host, source[1], 21)
                expectation = [flow_tuple(1, family, *original),
                               flow_tuple(2, family, source[0], host, 0, DATA_PORT),
                               flow_tuple(3, family, *(["255.255.255.255"] * 2 if family == V4 else ["ffff:" * 7 + "ffff"] * 2), 0, 65535),
                               be32(4, 60), be32(8, 0), be32(9, 0)]
                if nat:
                    zero = "0.0.0.0" if family == V4 else "::"
                    expectation += [nest(10, be32(1, 0), flow_tuple(2, family, zero, zero, DATA_PORT, 0)),
                                    text(11, "nat-follow-master")]
                talk.call(f"{label}: expectation NEW" + (" with NAT and function" if nat else ""),
                          EXPECT, 0, ACK | CREATE | EXCL, family, 0, *expectation)
                talk.call(f"{label}: expectation NEW again, EXCL", EXPECT, 0, ACK | CREATE | EXCL, family, 0, *expectation)
                talk.call(f"{label}: expectation dump", EXPECT, 1, DUMP, family, 0, keep="expect-dump")
                talk.call(f"{label}: conntrack GET", CTNETLINK, 1, ACK, family, 0,
                          flow_tuple(1, family, *original), keep="conntrack-get")
                private = nest(5, text(1, HELPER), attr(2, bytes(range(1, PRIVATE + 1))))
                if not lengthen:
                    words, extra = "ACCEPT with private state", nest(11, private)
                elif family == V4:
                    words = "ACCEPT, longer payload, private state"
                    extra = attr(10, p.rebuilt(b"FIRST, LONGER\r\n")) + nest(11, private)
                else:   # the kernel finds the wrong sequence number for IPv6: tell it, then no NFQA_CT
                    talk.call(f"{label}: conntrack UPDATE, sequence adjustment and private state", CTNETLINK, 0, ACK, family, 0,
                              flow_tuple(1, family, *original), private,
                              nest(15, be32(1, p.seq), be32(2, 0), be32(3, 8)))
                    words, extra = "ACCEPT, longer payload, no conntrack", attr(10, p.rebuilt(b"FIRST, LONGER\r\n"))
                adjusted = lengthen
            verdict = attr(2, struct.pack(">II", 1, p.id))
            if words:
                sent = queue.send(QUEUE, 1, 0, 0, number, verdict, extra)
                save("request", f"{label}: verdict {words}", sent)
            elif p.data:
                queue.send(QUEUE, 1, 0, 0, number, verdict)
            else:
                queue.send(QUEUE, 3, 0, 0, number, verdict)
    drain(events, label)
    want = [b"200 FIRST" + (b", LONGER" if lengthen else b"") + b"\r\n", b"200 SECOND\r\n", b"200 DATA\r\n"]
    ok = client.replies == want
    print(f"capture {KERNEL} {label}: {'ok' if ok else f'FAIL {client.replies}'}", flush=True)
    rules(mode)   # flushes conntracks: DESTROY events
    drain(events, label + ", flushed")
    return ok


# ---- all of it ---------------------------------------------------------------------------
talk = Netlink()
events = Netlink(groups=(1, 2, 3, 4, 5, 6))
queues = {}
for family, number in QUEUES.items():
    queues[family] = q = Netlink()
    q.call(f"queue {number} BIND", QUEUE, 2, ACK, 0, number, attr(1, b"\1\0\0\0"))
    q.call(f"queue {number} config: copy packet, length 2048, CONNTRACK and FAIL_OPEN", QUEUE, 2, ACK, 0, number,
           attr(2, struct.pack(">IB", 0xFFFF, 2)), be32(3, 2048), be32(4, 3), be32(5, 3))
    talk.call(f"cthelper NEW {HELPER} ipv{4 if family == V4 else 6}", CTHELPER, 0, ACK | CREATE, 0, 0,
              *cthelper_new(HELPER, family, number))
talk.call("cthelper NEW, four classes, disabled, no private data", CTHELPER, 0, ACK | CREATE, 0, 0,
          *cthelper_new("four", 0, 7, [(f"class-{n}", n + 1, 60 * (n + 1)) for n in range(4)], 0, 0))
talk.call("cthelper dump", CTHELPER, 1, DUMP, 0, 0, keep="cthelper-dump")
talk.call("cthelper GET by name", CTHELPER, 1, ACK, 0, 0, text(1, "four"), keep="cthelper-dump")

# Errors a daemon has to read. Words first, so that tests can pick them.
by_name = [text(1, HELPER), nest(2, attr(1, struct.pack(">H", V4)), attr(2, b"\6"))]
talk.call("cthelper GET, no such name", CTHELPER, 1, ACK, 0, 0, text(1, "nothing"))
talk.call("cthelper NEW, name of 16 characters", CTHELPER, 0, ACK | CREATE, 0, 0, *cthelper_new("a" * 16, V4, 1))
talk.call("cthelper NEW, five classes", CTHELPER, 0, ACK | CREATE, 0, 0, *cthelper_new("five", V4, 1, [("c", 1, 1)] * 5))
talk.call("cthelper NEW, 33 private bytes", CTHELPER, 0, ACK | CREATE, 0, 0, *cthelper_new("big", V4, 1, private=33))
talk.call("cthelper NEW, it exists, EXCL", CTHELPER, 0, ACK | CREATE | EXCL, 0, 0, *cthelper_new(HELPER, V4, 100))
talk.call("cthelper status only: disable", CTHELPER, 0, ACK, 0, 0, *by_name, be32(6, 0))
talk.call("cthelper status only: enable", CTHELPER, 0, ACK, 0, 0, *by_name, be32(6, 1))
talk.call("queue config of an unbound queue", QUEUE, 2, ACK, 0, 99, be32(3, 10))
talk.call("queue BIND, somebody else holds it", QUEUE, 2, ACK, 0, 100, attr(1, b"\1\0\0\0"))
talk.call("verdict for an unknown packet", QUEUE, 1, ACK, 0, 99, attr(2, struct.pack(">II", 1, 1)))
talk.call("expectation GET, no such tuple", EXPECT, 1, ACK, V4, 0, flow_tuple(2, V4, "10.9.9.9", "10.9.9.8", 1, 2))
talk.call("expectation NEW, no such master", EXPECT, 0, ACK | CREATE, V4, 0, flow_tuple(1, V4, "10.9.9.9", "10.9.9.8", 1, 2),
          flow_tuple(2, V4, "10.9.9.9", "10.9.9.8", 1, 2), flow_tuple(3, V4, "0.0.0.0", "0.0.0.0", 0, 0))
talk.call("expectation dump, empty", EXPECT, 1, DUMP, V4, 0, keep="expect-dump")
subprocess.run(["modprobe", "nf_conntrack_ftp"], check=True)
talk.call("cthelper NEW, the kernel's module has the name", CTHELPER, 0, ACK | CREATE, 0, 0, *cthelper_new("ftp", V4, 100))
subprocess.run(["modprobe", "-r", "nf_conntrack_ftp"], check=True)
plain = Netlink(ext_ack=False, cap_ack=False)
plain.call("without CAP_ACK and EXT_ACK: cthelper NEW, name of 16 characters", CTHELPER, 0, ACK | CREATE, 0, 0,
           *cthelper_new("a" * 16, V4, 1))

for family in V4, V6:
    serve(family, 21)
    serve(family, DATA_PORT)
good = [scenario(mode, family, "client") for family in (V4, V6) for mode in ("none", "snat", "dnat")]
subprocess.run(["nft", "flush", "ruleset"], check=True)
talk.call("cthelper DEL by name", CTHELPER, 2, ACK, 0, 0, text(1, "four"))
talk.call("cthelper DEL all", CTHELPER, 2, ACK, 0, 0)
talk.call("cthelper dump, empty", CTHELPER, 1, DUMP, 0, 0, keep="cthelper-dump")
for f in files.values():
    f.close()
sys.exit(not all(good))
