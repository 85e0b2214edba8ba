//! Conversations with a helper, for tests: segments or datagrams go in, and what the helper asked, changed and counted is compared.
//!
//! ```
//! use cthelper_worker::helpers::ftp::Ftp;
//! use cthelper_worker::testkit::{talk, tcp};
//!
//! talk(Ftp)
//!     .from_server("220 ready\r\n")
//!     .from_client("PASV\r\n")
//!     .expects_nothing()
//!     .from_server("227 Entering Passive Mode (10,0,2,2,7,208)\r\n")
//!     .expects(tcp("10.0.2.2:2000"))
//!     .passes_unchanged();
//! ```
//!
//! The client is the originator. The kernel is played by a [`Kernel`]: it keeps the private bytes, as the real one does, and judges what is
//! asked. Each check looks at the packet sent last. A failed check panics: this is a tool for tests.

#![allow(
    clippy::missing_panics_doc,
    clippy::return_self_not_must_use,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a tool for tests: a check that fails panics, and a conversation ends where it likes"
)]

mod kernel;
mod nets;
mod recorded;

use cthelper_proto::ipc::{Expect, PacketHeader, Rule, Ruling, Segment, Settings, Ticket, Verdict};
use cthelper_proto::types::{CtInfo, Dir, Flow, L4, State};

use crate::helper::{Framing, Helper};
use crate::serve::Server;

pub use kernel::Kernel;
pub use nets::{Net, answers_from, tcp, udp};
pub use recorded::recorded;

/// Starts a conversation: IPv4, no address translation, client 10.0.1.2, server 10.0.2.2.
pub fn talk<H: Helper + Clone + 'static>(helper: H) -> Talk {
    let manifest = helper.manifest();
    let state = State::zeroed(manifest.state_len);
    let port = manifest.ports.first().copied().unwrap_or(4000);
    let l4 = manifest.l4s.iter().next().unwrap_or(L4::Tcp);
    let flow = Net::Plain4.flow(l4, port);
    let framings = [helper.framing(L4::Tcp), helper.framing(L4::Udp)];
    let fresh = move |settings: &Settings| Server::new(Box::new(helper.clone()), settings.clone());
    Talk {
        server: fresh(&Settings::default()),
        settings: Settings::default(),
        fresh: Box::new(fresh),
        kernel: Kernel::default(),
        flow,
        framings,
        l4,
        state,
        next: [u32::MAX - 40, 1000],
        last: None,
        ticket: 0,
        in_flight: false,
    }
}

/// A conversation.
pub struct Talk {
    server: Server,
    fresh: Box<dyn Fn(&Settings) -> Server>,
    settings: Settings,
    kernel: Kernel,
    flow: Flow,
    framings: [Framing; 2],
    l4: L4,
    state: State,
    next: [u32; 2],
    last: Option<Sent>,
    ticket: u64,
    in_flight: bool,
}

/// The packet sent last, and what became of it.
#[derive(Clone)]
struct Sent {
    dir: Dir,
    seq: u32,
    payload: Vec<u8>,
    verdict: Verdict,
    asked: Vec<Expect>,
    withdrawn: usize,
}

impl Talk {
    /// Between other addresses.
    pub fn across(mut self, net: Net) -> Self {
        self.flow = net.flow(self.l4, self.flow.orig.dport);
        self
    }

    /// Over UDP, where the helper serves both.
    pub fn over_udp(mut self) -> Self {
        self.l4 = L4::Udp;
        self.flow.orig.proto = L4::Udp.number();
        self.flow.reply.proto = L4::Udp.number();
        self
    }

    /// The client speaks to another address, such as a group: nobody answers from there, and nothing is translated.
    pub fn to(mut self, addr: &str) -> Self {
        self.flow.orig.dst = addr.parse().unwrap();
        self.flow.reply = self.flow.orig.inverse();
        self
    }

    /// The client speaks from another port.
    pub fn from_port(mut self, port: u16) -> Self {
        (self.flow.orig.sport, self.flow.reply.dport) = (port, port);
        self
    }

    /// With what an operator has set.
    pub fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self.restarted()
    }

    /// Before a kernel that judges otherwise.
    pub fn before(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// The client sends a packet.
    pub fn from_client(self, payload: impl AsRef<[u8]>) -> Self {
        self.from_dir(Dir::Orig, payload.as_ref())
    }

    /// The server sends a packet.
    pub fn from_server(self, payload: impl AsRef<[u8]>) -> Self {
        self.from_dir(Dir::Reply, payload.as_ref())
    }

    /// A packet in order.
    pub fn from_dir(mut self, dir: Dir, payload: &[u8]) -> Self {
        let seq = self.next_seq(dir);
        self.set_next_seq(dir, crate::stream::end_of(seq, payload.len()));
        self.segment(dir, seq, payload)
    }

    /// A TCP segment at any sequence number; the order of the following ones is not touched.
    pub fn segment(self, dir: Dir, seq: u32, payload: &[u8]) -> Self {
        let info = if dir == Dir::Orig { CtInfo::Established } else { CtInfo::EstablishedReply };
        self.packet(info, Segment { seq, last: false }, payload)
    }

    /// A packet with every detail.
    pub fn packet(mut self, info: CtInfo, segment: Segment, payload: &[u8]) -> Self {
        self.ticket += 1;
        let header = PacketHeader {
            ticket: Ticket(self.ticket),
            flow: self.flow,
            info,
            state: (!self.in_flight).then_some(self.state),
            tcp: (self.l4 == L4::Tcp).then_some(segment),
        };
        self.kernel.asked.clear();
        self.kernel.withdrawn = 0;
        let verdict = self.server.packet(&header, payload, &mut self.kernel);
        assert_eq!(verdict.ticket, header.ticket, "the verdict names another packet");
        self.state = verdict.state.unwrap_or(self.state);
        let asked = self.kernel.asked.clone();
        self.last = Some(Sent {
            dir: info.dir(),
            seq: segment.seq,
            payload: payload.to_vec(),
            verdict,
            asked,
            withdrawn: self.kernel.withdrawn,
        });
        self
    }

    /// The packet sent last comes again.
    pub fn again(self) -> Self {
        let Sent { dir, seq, payload, .. } = self.sent().clone();
        self.segment(dir, seq, &payload)
    }

    /// Bytes of this direction get lost before the worker sees them.
    pub fn lost(mut self, dir: Dir, bytes: u32) -> Self {
        self.set_next_seq(dir, self.next_seq(dir).wrapping_add(bytes));
        self
    }

    /// The worker is replaced; only the private bytes in the kernel are left.
    pub fn restarted(mut self) -> Self {
        self.server = (self.fresh)(&self.settings);
        self
    }

    /// From now on packets come without the private bytes: earlier ones are still with the worker.
    pub fn in_flight(mut self) -> Self {
        self.in_flight = true;
        self
    }

    /// Where the next byte of a direction stands.
    pub fn next_seq(&self, dir: Dir) -> u32 {
        let [orig, reply] = self.next;
        if dir == Dir::Orig { orig } else { reply }
    }

    fn set_next_seq(&mut self, dir: Dir, seq: u32) {
        let [orig, reply] = &mut self.next;
        *(if dir == Dir::Orig { orig } else { reply }) = seq;
    }

    fn sent(&self) -> &Sent {
        self.last.as_ref().expect("nothing has been sent yet")
    }

    /// Exactly this was asked.
    pub fn expects(self, expect: Expect) -> Self {
        assert_eq!(self.sent().asked, [expect]);
        self
    }

    /// Exactly these were asked, in this order.
    pub fn expects_all(self, expects: &[Expect]) -> Self {
        assert_eq!(self.sent().asked, expects);
        self
    }

    /// Nothing was asked.
    pub fn expects_nothing(self) -> Self {
        self.expects_all(&[])
    }

    /// So many grants were taken back.
    pub fn withdraws(self, count: usize) -> Self {
        assert_eq!(self.sent().withdrawn, count);
        self
    }

    /// The packet goes on as it came.
    pub fn passes_unchanged(self) -> Self {
        assert_eq!(self.sent().verdict.ruling, Ruling::Pass);
        assert_eq!(self.sent().verdict.edits, []);
        self
    }

    /// The packet goes on, with this payload.
    pub fn passes_as(self, wanted: impl AsRef<[u8]>) -> Self {
        assert_eq!(self.sent().verdict.ruling, Ruling::Pass);
        let got = self.forwarded();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(wanted.as_ref()));
        self
    }

    /// TCP is asked to send the packet again.
    pub fn is_resent(self) -> Self {
        assert_eq!(self.sent().verdict.ruling, Ruling::Resend);
        self
    }

    /// This field was counted.
    pub fn malformed(self, field: &str) -> Self {
        assert_eq!(self.sent().verdict.malformed.as_deref(), Some(field));
        self
    }

    /// All was well formed.
    pub fn well_formed(self) -> Self {
        assert_eq!(self.sent().verdict.malformed, None);
        self
    }

    /// The field that was counted, if one was.
    pub fn field(&self) -> Option<&str> {
        self.sent().verdict.malformed.as_deref()
    }

    /// The private bytes did not change.
    pub fn keeps_state(self) -> Self {
        assert_eq!(self.sent().verdict.state, None);
        self
    }

    /// All that was asked for the packet sent last.
    pub fn asked(&self) -> &[Expect] {
        &self.sent().asked
    }

    /// The packet's payload as it goes on.
    pub fn forwarded(&self) -> Vec<u8> {
        let Sent { payload, verdict, .. } = self.sent();
        let mut out = Vec::new();
        let mut at = 0;
        for edit in &verdict.edits {
            out.extend(payload.get(at..usize::from(edit.at)).expect("edits ascend within the payload"));
            out.extend(&edit.put);
            at = usize::from(edit.at) + usize::from(edit.cut);
        }
        out.extend(payload.get(at..).expect("edits stay within the payload"));
        out
    }

    /// How the helper's messages are framed.
    pub fn framing(&self) -> Framing {
        let [tcp, udp] = self.framings;
        if self.l4 == L4::Tcp { tcp } else { udp }
    }

    /// How the kernel answered refusals by rule, if it did.
    pub fn refused_by(&self) -> Option<Rule> {
        self.kernel.refuses
    }
}
