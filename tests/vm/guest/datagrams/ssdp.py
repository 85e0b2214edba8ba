#!/usr/bin/python3
"""ssdp.py: what comes after an answer of SSDP: a device over HTTP, and a control point that wants its events (UPnP Device Architecture 2.0, §4).

device PORT                         serves a description, over IPv4 and IPv6; who subscribes is sent one event, to the place he names
subscribe ADDR PORT FROM SECONDS    exit 0 if the event of the subscription comes in at FROM; else 1, and why, on stdout
register SOCKET LOCATION            tells a minissdpd of such a device
"""
import http.server, re, socket, sys, threading, time, urllib.parse

DESCRIPTION = b'<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"/>'
EVENT = (b'<?xml version="1.0"?><e:propertyset xmlns:e="urn:schemas-upnp-org:event-1-0">'
         b'<e:property><Light>on</Light></e:property></e:propertyset>')
GATEWAY = 'urn:schemas-upnp-org:device:InternetGatewayDevice:1'
SID = 'uuid:00000000-0000-0000-0000-00000000abcd'


def family(addr):
    return socket.AF_INET6 if ':' in addr else socket.AF_INET


def authority(addr, port):
    return '[%s]:%d' % (addr, port) if ':' in addr else '%s:%d' % (addr, port)


def read_message(s):
    """Head and body, as far as Content-Length says."""
    data = b''
    while b'\r\n\r\n' not in data:
        part = s.recv(65536)
        if not part:
            return data, b''
        data += part
    head, body = data.split(b'\r\n\r\n', 1)
    length = re.search(rb'(?i)content-length: *(\d+)', head)
    while length and len(body) < int(length[1]):
        body += s.recv(65536)
    return head, body


def notify(callback):
    url = urllib.parse.urlsplit(callback)
    head = ('NOTIFY %s HTTP/1.1\r\nHOST: %s\r\nCONTENT-TYPE: text/xml\r\nNT: upnp:event\r\nNTS: upnp:propchange\r\n'
            'SID: %s\r\nSEQ: 0\r\nContent-Length: %d\r\n\r\n' % (url.path, url.netloc, SID, len(EVENT)))
    with socket.create_connection((url.hostname, url.port), 5) as s:
        s.sendall(head.encode() + EVENT)
        read_message(s)


class Device(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self, body=b'', **fields):
        self.send_response(200)
        for name, value in {'Content-Length': str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(DESCRIPTION)

    def do_SUBSCRIBE(self):
        callback = self.headers['CALLBACK'].strip('<>')
        self.answer(SID=SID, TIMEOUT='Second-300')
        threading.Thread(target=notify, args=(callback,), daemon=True).start()

    def log_message(self, *words):
        pass


def device(port):
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6
    Server(('::', port), Device).serve_forever()


def subscribe(addr, port, own, seconds):
    listener = socket.create_server((own, 0), family=family(own))
    listener.settimeout(seconds)
    request = ('SUBSCRIBE /events HTTP/1.1\r\nHOST: %s\r\nCALLBACK: <http://%s/heard>\r\nNT: upnp:event\r\nTIMEOUT: Second-300\r\n\r\n'
               % (authority(addr, port), authority(own, listener.getsockname()[1])))
    try:
        with socket.create_connection((addr, port), seconds) as s:
            s.sendall(request.encode())
            head, _ = read_message(s)
            if SID.encode() not in head:
                print('the subscription failed')
                return 1
            event, _ = listener.accept()
            event.settimeout(seconds)
            head, body = read_message(event)
            event.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    except OSError as error:
        print('no event:', error)
        return 1
    if not head.startswith(b'NOTIFY /heard ') or SID.encode() not in head or body != EVENT:
        print('another event')
        return 1
    return 0


def register(path, location):
    """minissdpd's protocol: 4, then type, name, server and place, each behind its length."""
    fields = [GATEWAY, 'uuid:2::' + GATEWAY, 'a/1 UPnP/1.1 b/1', location]
    message = b'\4' + b''.join(bytes([len(f)]) + f.encode() for f in fields)
    for _ in range(50):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(path)
                s.sendall(message)
                return 0
        except OSError:
            time.sleep(0.1)
    return 1


def main(argv):
    if argv[0] == 'device':
        return device(int(argv[1]))
    if argv[0] == 'subscribe':
        return subscribe(argv[1], int(argv[2]), argv[3], float(argv[4]))
    return register(argv[1], argv[2])


sys.exit(main(sys.argv[1:]))
