#!/usr/bin/python3
"""record.py FILE IFACE... [PORT]: writes what passes these interfaces, TCP and UDP only, into a pcap file, until it is ended. With a port: what goes
there or comes from there."""
import signal, socket, struct, sys, time

ETH_P_ALL = 3


def ports(frame):
    """Those of TCP and UDP; None of anything else."""
    kind = frame[12:14]
    if kind == b'\x08\x00':
        protocol, at = frame[23], 14 + 4 * (frame[14] & 15)
    elif kind == b'\x86\xdd':
        protocol, at = frame[20], 54
    else:
        return None
    return struct.unpack_from('>2H', frame, at) if protocol in (6, 17) else None


def wanted(frame, port):
    found = ports(frame)
    return found is not None and (port is None or port in found)


def main(path, *interfaces):
    port = int(interfaces[-1]) if interfaces[-1].isdigit() else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    with open(path, 'wb', buffering=0) as f:
        f.write(struct.pack('<IHHiIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 1))
        while True:
            frame, (interface, *_) = s.recvfrom(65535)
            if interface in interfaces and wanted(frame, port):
                now = time.time()
                f.write(struct.pack('<IIII', int(now), int(now % 1 * 1e6), len(frame), len(frame)) + frame)


main(*sys.argv[1:])
