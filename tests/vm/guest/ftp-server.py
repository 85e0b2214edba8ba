#!/usr/bin/python3
"""ftp-server.py DIR ADDR...: pyftpdlib on port 21 of each address, anonymous, read and write.

Strict as it comes: an announced address must be the peer's own, compared as text. It is given no
masquerade address, so what it announces is where it really is. A thread per session: on one loop
pyftpdlib unregisters closed descriptors whose number another session has by then, which stalls it.
"""
import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import ThreadedFTPServer

logging.basicConfig(level=logging.DEBUG)
authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[1], perm="elrw")
FTPHandler.authorizer = authorizer
FTPHandler.use_sendfile = False
FTPHandler.permit_foreign_addresses = False
servers = [ThreadedFTPServer((address, 21), FTPHandler, ioloop=IOLoop.instance()) for address in sys.argv[2:]]
print("ready", flush=True)
servers[0].serve_forever()
