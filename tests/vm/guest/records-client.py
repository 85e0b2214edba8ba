#!/usr/bin/python3
"""records-client.py HOST4 HOST6 SECONDS: the scripted record cases, all at once; `CASE ok` or `CASE why not`, a line each.

Each case asks as its protocol does, believes what it is told, connects there and compares what is said.
"""
import socket
import struct
import sys
import threading

HOST4, HOST6, SECONDS = sys.argv[1], sys.argv[2], float(sys.argv[3])


def connect(host, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, kind)
    s.settimeout(SECONDS)
    if kind == socket.SOCK_STREAM:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.connect((host, port))
    return s


def exactly(s, count):
    got = b''
    while len(got) < count:
        more = s.recv(count - len(got))
        if not more:
            raise OSError('closed')
        got += more
    return got


def hears(host, port, wanted):
    with connect(host, port) as s:
        got = exactly(s, len(wanted))
        if got != wanted:
            raise OSError(f'heard {got!r}')


# ---- RPC -------------------------------------------------------------------------------------

def xdr(text):
    raw = text.encode()
    return struct.pack('>I', len(raw)) + raw + b'\0' * (-len(raw) % 4)


def exchange(host, port, kind, message):
    """One call and its results."""
    with connect(host, port, kind) as s:
        if kind == socket.SOCK_DGRAM:
            for _ in range(2):
                s.send(message)
                try:
                    reply = s.recv(2000)
                    break
                except TimeoutError:
                    reply = b''
            if not reply:
                raise TimeoutError('timed out')
        else:
            s.sendall(struct.pack('>I', len(message) | 0x80000000) + message)
            reply = b''
            while True:
                mark = struct.unpack('>I', exactly(s, 4))[0]
                reply += exactly(s, mark & 0x7fffffff)
                if mark >> 31:
                    break
    if reply[:4] != message[:4] or reply[4:12] != struct.pack('>2I', 1, 0):
        raise OSError(f'no success: {reply.hex()}')
    return reply[24:]


def call(program, version, procedure, args=b''):
    xid = program & 0xff | version << 8 | procedure << 16
    return struct.pack('>10I', xid, 0, 2, program, version, procedure, 0, 0, 0, 0) + args


def rpc(host, number, version, procedure, over, asked):
    """Asks the portmapper over one protocol, and calls the program there over `asked`."""
    kind = {'tcp': socket.SOCK_STREAM, 'udp': socket.SOCK_DGRAM}
    program = 0x20000000 + number
    if version == 2:
        args = struct.pack('>4I', program, 1, 6 if asked == 'tcp' else 17, 0)
        port = struct.unpack('>I', exchange(host, 111, kind[over], call(100000, 2, 3, args)))[0]
        place = host, port
    else:
        args = struct.pack('>2I', program, 1) + xdr(asked) + xdr('') + xdr('')
        results = exchange(host, 111, kind[over], call(100000, version, procedure, args))
        length = struct.unpack('>I', results[:4])[0]
        addr, high, low = results[4:4 + length].decode().rsplit('.', 2)
        place = addr, int(high) << 8 | int(low)
    if not place[1]:
        raise OSError('not registered')
    exchange(*place, kind[asked], call(program, 1, 0))


# ---- TNS -------------------------------------------------------------------------------------

def packet(s):
    head = exactly(s, 8)
    return head[4], exactly(s, struct.unpack('>H', head[:2])[0] - 8)


def tns(host, how):
    with connect(host, 1521) as s:
        s.sendall(struct.pack('>HHBBH', 8 + len(how), 0, 1, 0, 0) + how)
        kind, body = packet(s)
        if kind != 5:
            raise OSError(f'a packet of type {kind}')
        length, text = struct.unpack('>H', body[:2])[0], body[2:]
        if not text:
            kind, body = packet(s)
            text = body[2:]
        elif length != len(text):
            raise OSError(f'the redirect says {length}, has {len(text)}')
        fields = dict(pair.split('=') for pair in text.decode().replace(')', '(').split('(') if pair.count('=') == 1 and pair[-1] != '=')
        hears(fields['HOST'], int(fields['PORT']), b'redirected')


# ---- Amanda ----------------------------------------------------------------------------------

def amanda(host):
    with connect(host, 10080, socket.SOCK_DGRAM) as s:
        s.send(b'Amanda 2.6 REQ HANDLE 000-00010E5C SEQ 1119041234\nSECURITY USER root\nSERVICE sendbackup\n')
        words = s.recv(2000).split(b'CONNECT ')[1].split(b'\n')[0].split()
        for name, port in zip(words[::2], words[1::2]):
            hears(host, int(port), name)


CASES = {
    'rpc-getport-udp4-udp': lambda: rpc(HOST4, 0, 2, 3, 'udp', 'udp'),
    'rpc-getport-udp4-tcp': lambda: rpc(HOST4, 1, 2, 3, 'udp', 'tcp'),
    'rpc-getport-tcp4-tcp': lambda: rpc(HOST4, 2, 2, 3, 'tcp', 'tcp'),
    'rpc-getaddr-udp4': lambda: rpc(HOST4, 4, 3, 3, 'udp', 'udp'),
    'rpc-getaddr-tcp4': lambda: rpc(HOST4, 5, 4, 3, 'tcp', 'tcp'),
    'rpc-getaddr-udp6': lambda: rpc(HOST6, 4, 3, 3, 'udp', 'udp'),
    'rpc-getversaddr-tcp6': lambda: rpc(HOST6, 5, 4, 9, 'tcp', 'tcp'),
    'tns-whole4': lambda: tns(HOST4, b'whole'),
    'tns-follows4': lambda: tns(HOST4, b'follows'),
    'tns-split4': lambda: tns(HOST4, b'split'),
    'tns-whole6': lambda: tns(HOST6, b'whole'),
    'tns-split6': lambda: tns(HOST6, b'split'),
    'amanda-6': lambda: amanda(HOST6),
}


def run(name, case):
    try:
        case()
        verdict = 'ok'
    except Exception as error:
        verdict = str(error) or type(error).__name__
    print(f'{name} {verdict}\n', end='', flush=True)   # in one write: the cases print side by side


threads = [threading.Thread(target=run, args=pair) for pair in CASES.items()]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
