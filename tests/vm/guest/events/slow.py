"""slow.py SOCKET QUEUE FILE: subscribes, reads nothing until FILE is there, then all; prints how many events it read and how many were
told as lost."""
import os
import select
import socket
import sys
import time

path, queue, go = sys.argv[1], int(sys.argv[2]), sys.argv[3]
client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
client.connect(path)
client.sendall(b'{"queue":%d}\n' % queue)
while not os.path.exists(go):
    time.sleep(0.1)
got = bytearray()
while select.select([client], [], [], 3)[0]:
    piece = client.recv(1 << 16)
    if not piece:
        break
    got += piece
lines = got.decode().splitlines()
assert lines[0].startswith('{"ok"'), lines[0]
lost = sum(int(line.split()[2]) for line in lines if line.startswith("# lost "))
print(sum("[NEW]" in line for line in lines), lost, flush=True)
