//! The most expensive packets that each helper's protocol allows, of any length: for the rung `bounds`, which counts what they cost, and
//! for `make bench-helpers`, which times them.

use std::net::IpAddr;

use cthelper_proto::ipc::{Holds, PacketHeader, Question, Segment, Settings, Ticket, To, Verdict};
use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, L4, State, Tuple};
use cthelper_worker::helper::{Helper, Judge};
use cthelper_worker::helpers;
use cthelper_worker::serve::Server;
use cthelper_worker::stream::end_of;

/// The longest payload used, bytes: what a datagram can have, and a segment that receive offload has joined.
pub const LONGEST: usize = 65_472;

/// One kind of expensive packet.
pub struct Worst {
    /// The worker's argument.
    pub helper: &'static str,
    /// What makes it expensive.
    pub what: &'static str,
    l4: L4,
    to: &'static str,
    /// What must have been said before.
    before: Vec<(Dir, Vec<u8>)>,
    /// Who sends it.
    dir: Dir,
    head: Vec<u8>,
    repeated: Vec<u8>,
    tail: Vec<u8>,
    /// Sets the counts and lengths in the head.
    counts: fn(&mut [u8], usize),
}

/// A worker's inside before such a packet.
pub struct Ready {
    server: Server,
    header: PacketHeader,
}

impl Worst {
    /// A datagram or segment of the originator to 10.0.2.2 that is `head`, then `repeated` as often as fits.
    fn new(helper: &'static str, what: &'static str, l4: L4, head: impl AsRef<[u8]>, repeated: impl AsRef<[u8]>) -> Self {
        let (head, repeated) = (head.as_ref().to_vec(), repeated.as_ref().to_vec());
        let (to, before, tail) = ("10.0.2.2", Vec::new(), Vec::new());
        Self { helper, what, l4, to, before, dir: Dir::Orig, head, repeated, tail, counts: |_, _| () }
    }

    fn replied(self) -> Self {
        Self { dir: Dir::Reply, ..self }
    }

    fn to(self, to: &'static str) -> Self {
        Self { to, ..self }
    }

    fn after(self, before: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self { before: before.into_iter().map(|bytes| (Dir::Orig, bytes)).collect(), ..self }
    }

    fn ends(self, tail: impl AsRef<[u8]>) -> Self {
        Self { tail: tail.as_ref().to_vec(), ..self }
    }

    fn counts(self, counts: fn(&mut [u8], usize)) -> Self {
        Self { counts, ..self }
    }

    /// Such a payload, of at most `longest` bytes.
    pub fn payload(&self, longest: usize) -> Vec<u8> {
        let room = longest - self.head.len() - self.tail.len();
        let times = room / self.repeated.len();
        let mut payload = [&self.head, &self.repeated.repeat(times)[..], &self.tail].concat();
        (self.counts)(&mut payload, times);
        payload
    }

    /// A fresh worker that has heard what must have been said before. `wrap` may put something around the helper.
    pub fn ready(&self, wrap: impl FnOnce(Box<dyn Helper>) -> Box<dyn Helper>, judge: &mut dyn Judge) -> Ready {
        let helper = helpers::find(self.helper).unwrap();
        let state = State::zeroed(helper.manifest().state_len);
        let port = helper.manifest().ports.first().copied().unwrap_or(4000);
        let (src, dst): (IpAddr, IpAddr) = ("10.0.1.2".parse().unwrap(), self.to.parse().unwrap());
        let orig = Tuple { src, dst, proto: self.l4.number(), sport: 40_000, dport: port };
        let question =
            Question { to: vec![To::Multicast], holds: vec![Holds { at: 960, bytes: vec![b'x'; 64] }; 4], answers_from: None };
        let settings = Settings { question: Some(question), ..Settings::default() };
        let header = PacketHeader {
            ticket: Ticket(1),
            flow: Flow { id: FlowId(7), orig, reply: orig.inverse() },
            info: CtInfo::Established,
            state: Some(state),
            tcp: None,
        };
        let mut ready = Ready { server: Server::new(wrap(helper), settings), header };
        let mut next = [1000, 5000];
        for (dir, payload) in &self.before {
            ready.place(self.l4, *dir, next[dir.index()]);
            next[dir.index()] = end_of(next[dir.index()], payload.len());
            let verdict = ready.read(payload, judge);
            ready.header.state = verdict.state.or(ready.header.state);
        }
        ready.place(self.l4, self.dir, next[self.dir.index()]);
        ready
    }
}

impl Ready {
    fn place(&mut self, l4: L4, dir: Dir, seq: u32) {
        self.header.info = if dir == Dir::Orig { CtInfo::Established } else { CtInfo::EstablishedReply };
        self.header.tcp = (l4 == L4::Tcp).then_some(Segment { seq, last: false });
    }

    /// Reads the packet.
    pub fn read(&mut self, payload: &[u8], judge: &mut dyn Judge) -> Verdict {
        self.server.packet(&self.header, payload, judge)
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A record of one fragment.
fn record(message: &[u8]) -> Vec<u8> {
    [words(&[u32::try_from(message.len()).unwrap() | 1 << 31]), message.to_vec()].concat()
}

fn getport(xid: u32) -> Vec<u8> {
    words(&[xid, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_003, 3, 6, 0])
}

/// A message in fragments of one byte.
fn crumbs(message: &[u8]) -> Vec<u8> {
    let last = message.len() - 1;
    message.iter().enumerate().flat_map(|(n, byte)| [words(&[1 | u32::from(n == last) << 31]), vec![*byte]].concat()).collect()
}

fn tns(text: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(more + text.len()).unwrap().to_be_bytes();
    [&length(10)[..], &[0, 0, 5, 0, 0, 0], &length(0), text].concat()
}

/// Two bytes of a payload.
fn set(payload: &mut [u8], at: usize, value: usize) {
    payload[at..at + 2].copy_from_slice(&u16::try_from(value).unwrap().to_be_bytes());
}

/// The originator asks the group 239.255.255.250, or any other.
const GROUP: &str = "239.255.255.250";

/// All of them, the most expensive of each helper that we know.
pub fn all() -> Vec<Worst> {
    [amanda(), datagrams(), ftp(), rpc(), sane(), ssdp(), tns_all()].into_iter().flatten().collect()
}

fn amanda() -> Vec<Worst> {
    const REPLY: &str = "Amanda 2.6 REP HANDLE 0 SEQ 1\n";
    let reply = |what, head: &str, repeated| Worst::new("amanda", what, L4::Udp, format!("{REPLY}{head}"), repeated).replied();
    vec![
        reply("empty lines", "", "\n"),
        reply("nearly CONNECT", "", "CONNECTX\n"),
        reply("blanks between streams", "CONNECT DATA 1024 ", " ").ends("MESG 1025\n"),
        reply("a port of zeros", "CONNECT DATA ", "0").ends("1024\n"),
    ]
}

fn datagrams() -> Vec<Worst> {
    let dns = [&[0; 12][..], &[1, b'a', 0, 0, 1, 0, 1]].concat();
    let pointers = Worst::new("mdns", "names that are pointers", L4::Udp, &dns, [0xc0, 12, 0, 1, 0, 1]);
    let labels =
        Worst::new("mdns", "names of short labels", L4::Udp, &dns, [&[1, b'a'].repeat(126)[..], &[0, 0, 1, 0, 1]].concat());
    let questions: fn(&mut [u8], usize) = |payload, times| set(payload, 4, times + 1);
    let slp = Worst::new("slp", "a language without an end", L4::Udp, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "x");
    let slp = slp.counts(|payload, times| {
        set(payload, 3, payload.len());
        set(payload, 12, times);
    });
    let relay = [&[12, 0][..], &[0; 32]].concat();
    vec![
        pointers.counts(questions).to("224.0.0.251"),
        labels.counts(questions).to("224.0.0.251"),
        slp.to("239.255.255.253"),
        Worst::new("dhcpv6", "empty options", L4::Udp, [1, 0, 0, 0], [0, 0, 0, 0]).to("ff02::1:2"),
        Worst::new("dhcpv6", "empty relayed messages", L4::Udp, relay, [0, 9, 0, 0]).to("ff02::1:2"),
        Worst::new("tftp", "empty options", L4::Udp, b"\0\x01f\0octet\0", [0, 0]),
        Worst::new("tftp", "a long file name", L4::Udp, b"\0\x01", "f").ends(b"\0octet\0"),
        Worst::new("?ask", "all that may be looked for", L4::Udp, "", "x").to(GROUP),
    ]
}

fn ftp() -> Vec<Worst> {
    // A delimiter behind each, and none of them again for long: 508 bytes.
    let delimiters = (b'!'..=b'~').filter(|byte| !byte.is_ascii_digit() && *byte != b'(');
    let parentheses: String = delimiters.flat_map(|byte| ['(', char::from(byte)]).collect();
    let parentheses = parentheses.repeat(3);
    let ftp = |what, repeated: &str| Worst::new("ftp", what, L4::Tcp, "", repeated);
    vec![
        ftp("empty lines", "\n"),
        ftp("commands to announce", "PORT 10,0,1,2,7,208\r\n"),
        ftp("commands that are foreign", "EPRT |2|2001:db8:9:9:9:9:9:9|2000|\r\n"),
        ftp("replies that announce", "227 (10,0,2,2,7,208)\r\n").replied(),
        ftp("numbers that are too few", &format!("227 {}1\r\n", "1,1,1,1,1,,".repeat(46))).replied(),
        ftp("parentheses that do not close", &format!("229 {parentheses}\r\n")).replied(),
        ftp("a reply without an end", "227-(10,0,2,2,7,208)\r\n").replied(),
        ftp("a line without an end", "(").replied(),
    ]
}

fn rpc() -> Vec<Worst> {
    let over_tcp = |what, repeated: Vec<u8>| Worst::new("rpc", what, L4::Tcp, "", repeated);
    let port = |xid| words(&[xid, 1, 0, 0, 0, 0, 2049]);
    let called = || (1..=3).map(|xid| record(&getport(xid)));
    let verifier = [words(&[1, 1, 0, 0, 400]), vec![0; 400], words(&[0])].concat();
    vec![
        over_tcp("empty fragments", words(&[0])),
        over_tcp("empty records", words(&[1 << 31])),
        over_tcp("calls", record(&getport(1))),
        over_tcp("answers that announce", [1, 2, 3].map(|xid| record(&port(xid))).concat()).replied().after(called()),
        over_tcp("fragments of one byte", crumbs(&port(9))).replied().after(called()),
        Worst::new("rpc", "a verifier, and a string as long", L4::Udp, verifier, "x").replied().after([getport(1)]),
    ]
}

fn sane() -> Vec<Worst> {
    let answer = Worst::new("sane", "a long resource", L4::Tcp, words(&[0, 40_000, 0x1234, 65_000]), "x");
    vec![answer.replied().after([words(&[7, 1])])]
}

fn ssdp() -> Vec<Worst> {
    let found = Worst::new("ssdp", "short fields, location last", L4::Udp, "HTTP/1.1 200 OK\r\n", "A\n").replied();
    let search = Worst::new("ssdp", "a search, what matters last", L4::Udp, "M-SEARCH * HTTP/1.1\r\n", "A\n").to(GROUP);
    let callback = Worst::new("ssdp", "a long callback", L4::Tcp, "SUBSCRIBE / HTTP/1.1\r\nCALLBACK: ", " ");
    vec![
        found.ends("LOCATION: http://10.0.2.2:49152/\r\n\r\n"),
        search.ends("MAN: \"ssdp:discover\"\r\nST: ssdp:all\r\n\r\n"),
        callback.ends("<http://10.0.1.2:5000/>\r\n\r\n"),
    ]
}

fn tns_all() -> Vec<Worst> {
    let redirects = |what, text: &[u8]| Worst::new("tns", what, L4::Tcp, "", tns(text)).replied();
    vec![
        redirects("redirects", b"(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.2.2)(PORT=49152))"),
        redirects("empty redirects", b""),
        redirects("opened, never closed", &b"(".repeat(4000)),
        redirects("keys without values", &b"(A=".repeat(1300)),
        redirects("pairs that say nothing", &b"(A=B)".repeat(800)),
        redirects("blanks", &[b"(".to_vec(), b" ".repeat(3990)].concat()),
    ]
}
