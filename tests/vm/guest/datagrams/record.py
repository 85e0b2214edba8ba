#!/usr/bin/python3
"""record.py FILE IFACE...: writes what passes these interfaces, TCP and UDP only, into a pcap file, until it is ended."""
import signal, socket, struct, sys, time

ETH_P_ALL = 3


def transport(frame):
    """The protocol number behind the IP header, or 0."""
    kind = frame[12:14]
    if kind == b'\x08\x00':
        return frame[23]
    return frame[20] if kind == b'\x86\xdd' else 0


def main(path, *interfaces):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with open(path, 'wb', buffering=0) as f:
        f.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        while True:
            frame, (interface, *_) = s.recvfrom(65535)
            if interface in interfaces and transport(frame) in (6, 17):
                now = time.time()
                f.write(struct.pack('<IIII', int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


main(*sys.argv[1:])
