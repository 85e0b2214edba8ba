"""burst.py HOST PORT COUNT: one datagram to each of COUNT ports."""
import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(count):
    try:
        out.sendto(b"x", (host, port + n))
    except OSError:  # an ICMP error of an earlier one
        out.sendto(b"x", (host, port + n))
