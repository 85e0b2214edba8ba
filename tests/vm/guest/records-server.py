#!/usr/bin/python3
"""records-server.py ADDR4 ADDR6 AMANDAD: what the record cases talk to, but for rpcbind, NFS and saned.

* RPC programs 0x20000000 + CASE, each at ports of its own on TCP and UDP, registered with the rpcbind that runs here; every call is
  answered with success and nothing (RFC 5531).
* A TNS listener at 1521 that answers CONNECT with REDIRECT, in the way the connect data ask for: `whole`, `follows` (the
  address in a DATA packet of its own) or `split` (in the middle of the address, 0.2 s apart).
* The real amandad at UDP 10080 of the IPv4 address, started for each request as inetd does; at that of the IPv6 address (Debian's
  amandad has no IPv6) a scripted one whose reply names three streams.
What is redirected to, and each stream, says its own name and ends.
"""
import select
import socket
import struct
import subprocess
import sys
import threading
import time

ADDR4, ADDR6, AMANDAD = sys.argv[1:4]
PROGRAMS = range(0x20000000, 0x20000000 + 12)


def listener(addr, port=0):
    s = socket.socket(socket.AF_INET6 if ':' in addr else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(16)
    return s


def datagrams(addr, port=0):
    s = socket.socket(socket.AF_INET6 if ':' in addr else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((addr, port))
    return s


def forever(work, *args):
    def loop():
        while True:
            try:
                work(*args)
            except OSError as error:
                print(work.__name__, error, flush=True)
    threading.Thread(target=loop, daemon=True).start()


def exactly(s, count):
    got = b''
    while len(got) < count:
        more = s.recv(count - len(got))
        if not more:
            raise OSError('the other end closed')
        got += more
    return got


def says(s, name):
    """Accepts one after another and says the name."""
    peer, _ = s.accept()
    with peer:
        peer.sendall(name)


# ---- RPC -------------------------------------------------------------------------------------

def success(call):
    return call[:4] + struct.pack('>5I', 1, 0, 0, 0, 0)


def rpc_udp(s):
    call, peer = s.recvfrom(2000)
    s.sendto(success(call), peer)


def rpc_tcp(s):
    peer, _ = s.accept()
    with peer:
        peer.settimeout(5)
        length = struct.unpack('>I', exactly(peer, 4))[0] & 0x7fffffff
        reply = success(exactly(peer, length))
        peer.sendall(struct.pack('>I', 0x80000000 | len(reply)) + reply)


def xdr(text):
    raw = text.encode()
    return struct.pack('>I', len(raw)) + raw + b'\0' * (-len(raw) % 4)


def register(program, netid, addr, port):
    """RPCBPROC_SET of version 4, over the loop-back."""
    local = '::1' if ':' in addr else '127.0.0.1'
    uaddr = f'{addr}.{port >> 8}.{port & 255}'
    body = struct.pack('>10I', 7, 0, 2, 100000, 4, 1, 0, 0, 0, 0)
    body += struct.pack('>2I', program, 1) + xdr(netid) + xdr(uaddr) + xdr('superuser')
    for _ in range(50):
        with socket.socket(socket.AF_INET6 if ':' in addr else socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(1)
            s.connect((local, 111))
            try:
                s.send(body)
                answer = s.recv(100)
                if answer[-4:] != b'\0\0\0\1':
                    print('rpcbind refuses', netid, uaddr, answer.hex(), flush=True)
                return
            except OSError:
                time.sleep(0.2)
    print('rpcbind does not answer', netid, flush=True)


def rpc_programs():
    for program in PROGRAMS:
        for addr, six in ((ADDR4, ''), (ADDR6, '6')):
            udp, tcp = datagrams(addr), listener(addr)
            forever(rpc_udp, udp)
            forever(rpc_tcp, tcp)
            register(program, 'udp' + six, addr, udp.getsockname()[1])
            register(program, 'tcp' + six, addr, tcp.getsockname()[1])


# ---- TNS -------------------------------------------------------------------------------------

def tns(kind, body):
    return struct.pack('>HHBBH', 8 + len(body), 0, kind, 0, 0) + body


def redirect(peer, addr):
    with peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.settimeout(5)
        length = struct.unpack('>H', exactly(peer, 2))[0]
        how = exactly(peer, length - 2)[6:]
        other = listener(addr)
        forever(says, other, b'redirected')
        text = f'(ADDRESS=(PROTOCOL=TCP)(HOST={addr})(PORT={other.getsockname()[1]}))'.encode()
        head = struct.pack('>H', len(text))
        if how == b'follows':
            peer.sendall(tns(5, head))
            peer.sendall(tns(6, b'\0\0' + text))
        elif how == b'split':
            whole = tns(5, head + text)
            peer.sendall(whole[:45])
            time.sleep(0.2)
            peer.sendall(whole[45:])
        else:
            peer.sendall(tns(5, head + text))
        peer.recv(1)


def tns_listener(s, addr):
    peer, _ = s.accept()
    threading.Thread(target=redirect, args=(peer, addr), daemon=True).start()


# ---- Amanda ----------------------------------------------------------------------------------

def amandad(s, addr):
    request, peer = s.recvfrom(2000)
    ports = []
    for name in (b'DATA', b'MESG', b'INDEX'):
        stream = listener(addr)
        forever(says, stream, name)
        ports.append((name, stream.getsockname()[1]))
    head = request.split(b'\n')[0].replace(b' REQ ', b' REP ')
    line = b' '.join(b'%s %d' % pair for pair in ports)
    s.sendto(head + b'\nCONNECT ' + line + b'\nOPTIONS features=ffff;\n', peer)


def inetd(s):
    """`wait`: the program reads the request itself, and answers where it came from. It ends after one."""
    select.select([s], [], [])
    subprocess.run([AMANDAD, '-auth=bsd', 'amdump'], stdin=s, stdout=s, user='backup', group='backup', extra_groups=[], check=False)


for address in (ADDR4, ADDR6):
    forever(tns_listener, listener(address, 1521), address)
forever(inetd, datagrams(ADDR4, 10080))
forever(amandad, datagrams(ADDR6, 10080), ADDR6)
rpc_programs()
print('ready', flush=True)
threading.Event().wait()
