#!/usr/bin/env python3
"""Opens the connections that expectations.nft makes expectations for, and keeps them until it is ended."""
import signal
import socket

signal.signal(signal.SIGINT, signal.SIG_DFL)
kept = []
for family, host in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind((host, 6566))
    listener.listen()
    for port in 40001, 40002:
        connection = socket.socket(family, socket.SOCK_STREAM)
        connection.bind((host, port))
        connection.connect((host, 6566))
        kept += [listener, connection, listener.accept()]
        connection.send(b"x")
signal.pause()
