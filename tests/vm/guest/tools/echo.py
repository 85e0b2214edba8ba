#!/usr/bin/env python3
"""echo.py: answers every connection to port 21 with what it says. echo.py PORT HOST: is such a connection, and talks on until it is ended."""
import socket
import sys
import threading
import time


def answer(connection):
    while said := connection.recv(100):
        connection.sendall(said)


if len(sys.argv) == 1:
    listener = socket.create_server(("0.0.0.0", 21))
    while True:
        threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
else:
    connection = socket.create_connection((sys.argv[2], 21), source_address=("0.0.0.0", int(sys.argv[1])))
    while True:
        connection.sendall(b"NOOP\r\n")
        connection.recv(100)
        time.sleep(0.2)
