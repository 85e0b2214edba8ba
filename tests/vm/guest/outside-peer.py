#!/usr/bin/python3
"""outside-peer.py server ADDR... | client HOST4 HOST6 SECONDS MOVED [wait]: both ends of `dial`, the made-up protocol of tests/outside.

On a control connection (tcp/21, or DIAL_PORT of the environment) the client asks by a word, and the server says `DIAL PORT`, which the client then connects to:
CALL a port of its own · SPLIT the same, cut behind `DIAL ` · FIXED 4000, on every control connection · LOW 22, where nobody may listen.
The client prints a line for each case, over IPv4 and IPv6 at once: NAME ok, or NAME and what went wrong. MOVED = yes: addresses are translated,
so of two who are told 4000 one is told another port. With `wait` it stops after a call and goes on with the same
control connection when a line comes on stdin.
"""
import contextlib
import os
import socket
import sys
import threading
import time

CONTROL, FIXED = int(os.environ.get('DIAL_PORT', 21)), 4000


def listener(addr, port):
    s = socket.socket(socket.AF_INET6 if ':' in addr else socket.AF_INET)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((addr, port))
    s.listen(16)
    return s


# ---- server ----------------------------------------------------------------------------------

def answer_calls(s):
    while True:
        peer, _ = s.accept()
        with peer:
            peer.sendall(b'called')


def spawn(work, *args):
    threading.Thread(target=work, args=args, daemon=True).start()


def attend(control, addr):
    control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for word in control.makefile():
        word = word.strip()
        port = {'FIXED': FIXED, 'LOW': 22}.get(word)
        if port is None:
            s = listener(addr, 0)
            spawn(answer_calls, s)
            port = s.getsockname()[1]
        head, tail = (b'DIAL ', b'%d\r\n' % port)
        if word == 'SPLIT':
            control.sendall(head)
            time.sleep(0.2)
            control.sendall(tail)
        else:
            control.sendall(head + tail)


def serve(addr):
    spawn(answer_calls, listener(addr, FIXED))
    control = listener(addr, CONTROL)
    while True:
        peer, _ = control.accept()
        spawn(attend, peer, addr)


# ---- client ----------------------------------------------------------------------------------

@contextlib.contextmanager
def step(what):
    try:
        yield
    except OSError as error:
        raise type(error)(f'{what}: {error}') from error


class Control:
    def __init__(self, host, seconds):
        self.host, self.seconds = host, seconds
        with step(f'connecting to {CONTROL}'):
            self.socket = socket.create_connection((host, CONTROL), seconds)
        self.lines = self.socket.makefile()

    def told(self, word):
        with step(f'asking {word}'):
            self.socket.sendall(word.encode() + b'\n')
            verb, port = self.lines.readline().split()
        if verb != 'DIAL':
            raise ValueError(f'{verb} {port}')
        return int(port)

    def dials(self, port):
        with step(f'dialling {port}'), socket.create_connection((self.host, port), self.seconds) as s:
            said = s.recv(100)
        if said != b'called':
            raise ValueError(f'port {port} says {said}')

    def call(self, word='CALL'):
        self.dials(self.told(word))


def calls(host, seconds, moved):
    Control(host, seconds).call()


def split(host, seconds, moved):
    Control(host, seconds).call('SPLIT')


def twice(host, seconds, moved):
    """Both announcements wait for their connection at the same time."""
    one, other = Control(host, seconds), Control(host, seconds)
    first, second = one.told('FIXED'), other.told('FIXED')
    if moved and (first, second).count(FIXED) != 1:
        raise ValueError(f'told {first} and {second}')
    if moved:
        other.dials(second)
    one.dials(first)
    other.call()   # its stream goes on, though an announcement in it has changed its length


def low(host, seconds, moved):
    port = Control(host, seconds).told('LOW')
    try:
        socket.create_connection((host, port), 1).close()
    except TimeoutError:
        return
    raise ValueError('port 22 is open')


def outlives(host, seconds, moved):
    control = Control(host, seconds)
    control.call()
    READY.wait()
    GO.wait()
    control.call()


READY, GO = threading.Barrier(3), threading.Event()


def say(line):
    """In one write: the cases print side by side."""
    print(line + '\n', end='', flush=True)


def attempt(name, case, *args):
    try:
        case(*args)
        say(f'{name} ok')
    except (OSError, ValueError, threading.BrokenBarrierError) as error:
        say(f'{name} {type(error).__name__}: {error}')
        READY.abort()


def client(host4, host6, seconds, moved, *wait):
    cases = {'killed': outlives} if wait else {'call': calls, 'split': split, 'twice': twice, 'low': low}
    threads = [threading.Thread(target=attempt, args=(f'{name}-{family}', case, host, float(seconds), moved == 'yes'))
               for name, case in cases.items() for family, host in (('4', host4), ('6', host6))]
    for thread in threads:
        thread.start()
    if wait:
        try:
            READY.wait(30)
            print('ready', flush=True)
        except threading.BrokenBarrierError:
            print('not ready', flush=True)
        sys.stdin.readline()
        GO.set()
    for thread in threads:
        thread.join()


if sys.argv[1] == 'server':
    for address in sys.argv[2:]:
        spawn(serve, address)
    print('ready', flush=True)
    threading.Event().wait()
else:
    client(*sys.argv[2:])
