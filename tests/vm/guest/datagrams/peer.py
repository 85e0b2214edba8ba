#!/usr/bin/python3
"""peer.py: asks a question by multicast or broadcast, or answers such questions.

ask KIND FAMILY IFACE SECONDS [SPORT]   exit 0, and the answer's sender and LOCATION on stdout; 1 if none came
answer KIND... IFACE ADDR4 ADDR6        answers, one thread per kind and family, until it is ended
KIND: mdns slp ssdp ssdp-site ssdp-global wsd bjnp nbns (mdns and wsd are only asked: avahi and wsdd2 answer)
"""
import select, socket, struct, sys, threading, time

PROBE = (b'<?xml version="1.0"?><soap:Envelope xmlns:soap="http://www.w3.org/2003/05/soap-envelope" '
         b'xmlns:wsa="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:wsd="http://schemas.xmlsoap.org/ws/2005/04/discovery" '
         b'xmlns:wsdp="http://schemas.xmlsoap.org/ws/2006/02/devprof"><soap:Header>'
         b'<wsa:To>urn:schemas-xmlsoap-org:ws:2005:04:discovery</wsa:To>'
         b'<wsa:Action>http://schemas.xmlsoap.org/ws/2005/04/discovery/Probe</wsa:Action>'
         b'<wsa:MessageID>urn:uuid:00000000-0000-0000-0000-000000000007</wsa:MessageID></soap:Header>'
         b'<soap:Body><wsd:Probe><wsd:Types>wsdp:Device</wsd:Types></wsd:Probe></soap:Body></soap:Envelope>')


def slp(function, body=b''):
    return bytes([2, function]) + struct.pack('>I', 16 + len(body))[1:] + b'\x20\0\0\0\0\0\x07\0\x02en' + body


def dns_name(text):
    return b''.join(bytes([len(p)]) + p.encode() for p in text.split('.')) + b'\0'


def search(group):
    return ('M-SEARCH * HTTP/1.1\r\nHOST: %s:1900\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ssdp:all\r\n\r\n' % group).encode()


GLOBAL = b'urn:vm:global'


class Kind:
    def __init__(self, port, group4, group6, question, is_question, answer, is_answer, sport=None):
        self.port, self.groups = port, {4: group4, 6: group6}
        self.question, self.is_question, self.answer, self.is_answer = question, is_question, answer, is_answer
        self.sport = sport      # the answer's source port; None = that of the service


NBNS_QUERY = b'\0\7\1\x10\0\1\0\0\0\0\0\0\x20' + b'CA' * 16 + b'\0\0\x20\0\1'
KINDS = {
    'mdns': Kind(5353, '224.0.0.251', 'ff02::fb', lambda g: b'\0\7\0\0\0\1\0\0\0\0\0\0' + dns_name('server.local') + b'\0\xff\0\1',
                 lambda d: d[2:3] == b'\0' and b'\6server' in d, b'\0\7\x84\0\0\0\0\0\0\0\0\0', lambda d: len(d) > 2 and d[2] & 0x80),
    'slp': Kind(427, '239.255.255.253', 'ff02::116', lambda g: slp(1, b'\0\0\0\x0fservice:printer\0\x07DEFAULT\0\0\0\0'),
                lambda d: d[:2] == b'\2\1', slp(2, b'\0\0\0\0'), lambda d: d[:2] == b'\2\2'),
    'ssdp': Kind(1900, '239.255.255.250', 'ff02::c', search, lambda d: d.startswith(b'M-SEARCH'),
                 ('HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=60\r\nEXT:\r\nLOCATION: http://HOST:49152/root.xml\r\n'
                  'SERVER: a/1 UPnP/1.1 b/1\r\nST: upnp:rootdevice\r\nUSN: uuid:1::upnp:rootdevice\r\n\r\n').encode(),
                 lambda d: d.startswith(b'HTTP/1.1 200')),
    # Devices name a place of the scope in which they were asked (UPnP Device Architecture 2.0, annex A).
    'ssdp-site': Kind(1900, None, 'ff05::c', search, None, None, lambda d: d.startswith(b'HTTP/1.1 200')),
    # Asked in the link's scope, answered with a place outside it.
    'ssdp-global': Kind(1900, None, 'ff02::c', lambda g: search(g).replace(b'ssdp:all', GLOBAL), None, None, lambda d: d.startswith(b'HTTP/1.1 200')),
    'wsd': Kind(3702, '239.255.255.250', 'ff02::c', lambda g: PROBE, None, None, lambda d: b'ProbeMatches' in d),
    'bjnp': Kind(8612, '255.255.255.255', 'ff02::1', lambda g: b'BJNP\x02\x01\0\0\0\0\0\0\0\0\0\0', lambda d: d[:6] == b'BJNP\x02\x01',
                 b'BJNP\x82\x01\0\0\0\0\0\0\0\0\0\0', lambda d: d[:4] == b'BJNP'),
    'nbns': Kind(137, '10.0.2.255', None, lambda g: NBNS_QUERY, lambda d: d[2:3] == b'\1',
                 b'\0\7\x85\0\0\0\0\1\0\0\0\0\x20' + b'CA' * 16 + b'\0\0\x20\0\1\0\0\0\0\0\6\0\0\x0a\0\2\2', lambda d: d[2] & 0x80),
}


def ask(name, family, iface, seconds, sport=0):
    kind, group = KINDS[name], KINDS[name].groups[family]
    index = socket.if_nametoindex(iface)
    if family == 4:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack('=4s4si', b'\0' * 4, b'\0' * 4, index))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, iface.encode() + b'\0')
        s.bind(('', sport))
        to = (group, kind.port)
    else:
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        s.bind(('::', sport))
        to = (group, kind.port, 0, index)
    end = time.monotonic() + seconds
    tries = 0
    while time.monotonic() < end:
        if tries < 3:
            s.sendto(kind.question(group), to)
            tries += 1
        until = min(end, time.monotonic() + seconds / 3)
        while select.select([s], [], [], max(0, until - time.monotonic()))[0]:
            data, who = s.recvfrom(65535)
            if kind.is_answer(data) and not is_own(who[0]):
                print(who[0], who[1], *[l[10:].decode() for l in data.split(b'\r\n') if l.startswith(b'LOCATION: ')])
                return 0
    return 1


def is_own(addr):
    family = socket.AF_INET6 if ':' in addr else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    try:
        s.bind((addr, 0) if family == socket.AF_INET else (addr.split('%')[0], 0, 0, socket.if_nametoindex(addr.split('%')[1]) if '%' in addr else 0))
        return True
    except OSError:
        return False
    finally:
        s.close()


def link_local(iface):
    with open('/proc/net/if_inet6') as addresses:
        digits = [l.split()[0] for l in addresses if l.split()[5] == iface and l.startswith('fe80')][0]
    return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))


def answer(name, family, iface, addr):
    kind, group = KINDS[name], KINDS[name].groups[family]
    if group is None:
        return
    index = socket.if_nametoindex(iface)
    if family == 4:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.bind(('', kind.port))
        if socket.inet_aton(group)[0] in range(224, 240):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack('=4s4si', socket.inet_aton(group), b'\0' * 4, index))
    else:
        s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        s.bind(('::', kind.port))
        for joined in {group, group.replace('ff02::c', 'ff05::c')}:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, joined) + struct.pack('=I', index))
    while True:
        data, who = s.recvfrom(65535)
        if kind.is_question(data):
            own = link_local(iface) if who[0].startswith('fe80:') and GLOBAL not in data else addr
            s.sendto(kind.answer.replace(b'HOST', ('[%s]' % own if family == 6 else own).encode()), who)


def main(argv):
    if argv[0] == 'ask':
        return ask(argv[1], int(argv[2]), argv[3], float(argv[4]), int(argv[5]) if len(argv) > 5 else 0)
    *kinds, iface, addr4, addr6 = argv[1:]
    threads = [threading.Thread(target=answer, args=(k, f, iface, addr4 if f == 4 else addr6), daemon=True) for k in kinds for f in (4, 6)]
    for t in threads:
        t.start()
    while True:
        time.sleep(60)


sys.exit(main(sys.argv[1:]))
