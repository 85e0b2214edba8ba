"""two.py serve|make: servers on ports 21 and 80, which end a connection when its client does; or five connections to each, both families,
and a datagram to nobody."""
import selectors
import socket
import sys

HOSTS = ((socket.AF_INET, "10.0.2.2"), (socket.AF_INET6, "fd00:2::2"))
PORTS = (21, 80)


def serve():
    waiting = selectors.DefaultSelector()
    for family, host in HOSTS:
        for port in PORTS:
            waiting.register(socket.create_server((host, port), family=family), selectors.EVENT_READ, "server")
    while True:
        for key, _ in waiting.select():
            if key.data == "client":
                key.fileobj.recv(9)
                waiting.unregister(key.fileobj)
                key.fileobj.close()
            else:
                waiting.register(key.fileobj.accept()[0], selectors.EVENT_READ, "client")


def make():
    for family, host in HOSTS:
        for port in PORTS:
            for _ in range(5):
                socket.create_connection((host, port), timeout=20).close()
        socket.socket(family, socket.SOCK_DGRAM).sendto(b"x", (host, 9))


serve() if sys.argv[1] == "serve" else make()
