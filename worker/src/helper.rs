//! What a helper implements, and what it is given for each message.

use std::net::IpAddr;
use std::ops::Range;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{Edit, Expect, ExpectId, Grant, PacketHeader, Rule, Settings, Source, Ticket};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{Dir, Flow, L4, State};

use crate::serve::sdk;
use crate::stream::records::{FragmentMark, LAST, Piece};

pub use crate::stream::records::Mark;

/// Expectations a helper may ask for while it reads one packet; more are refused without a question (`per-packet`).
pub const MAX_ASKS: usize = 16;

/// A helper: the parser of one protocol.
///
/// It must not panic, but may: the worker then dies, is replaced, and the packet in hand passes as it was.
pub trait Helper {
    /// Who it is; the same at every call.
    fn manifest(&self) -> &'static Manifest;

    /// What is told of it besides its manifest; nothing depends on it.
    fn about(&self) -> About {
        About::default()
    }

    /// What one message is on a connection of this protocol. By default lines of up to 512 bytes on TCP, whole payloads on UDP.
    fn framing(&self, l4: L4) -> Framing {
        match l4 {
            L4::Tcp => Framing::Lines { max: 512 },
            L4::Udp => Framing::Datagram,
        }
    }

    /// Reads one message: a line without its end, a record, or a datagram.
    ///
    /// # Errors
    /// A broken rule of the protocol, by the field's name in at most 32 bytes. The packet passes all the same, and the field is counted.
    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed>;

    /// The head of a line longer than the framing's `max`: its first `max` bytes, once for each such line, as soon as it is too long.
    /// The rest of the line is skipped, and the packet is counted as malformed. Nothing can be rewritten here.
    fn overlong(&mut self, cx: &mut Cx<'_>, head: &[u8]) {
        let _ = (cx, head);
    }

    /// Whether `partial`, a line or record that the segment's end cuts, may become an announcement. Asked only when the flow is translated:
    /// such a line must stand in one segment to be rewritten, so TCP is made to send it again.
    fn wants_whole(&self, cx: &Cx<'_>, partial: &[u8]) -> bool {
        let _ = (cx, partial);
        false
    }
}

/// What `cthelperctl helpers` tells of a helper besides its manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// It rewrites what is announced where addresses are translated.
    pub rewrites: bool,
    /// Hostile traffic it has an answer to, a few words each.
    pub attacks: &'static [&'static str],
}

/// What one message of a protocol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Lines of at most `max` bytes without their end; of a longer one the helper gets the head ([`Helper::overlong`]). The first byte of the private state belongs
    /// to the SDK.
    Lines {
        /// Longest line, bytes.
        max: usize,
    },
    /// TCP records: messages before which their length stands. Of one longer than `max` bytes, [`Helper::message`] gets the first `max`, and
    /// nobody the rest. The first byte of the private state belongs to the SDK.
    Records {
        /// How they say their length.
        mark: Mark,
        /// Longest message that is shown whole, bytes.
        max: usize,
    },
    /// The payload of a packet, also of a TCP segment: for protocols whose messages say nothing of their length. What a repeated segment
    /// changes in the private bytes is undone.
    Datagram,
}

impl Framing {
    /// How many bytes of an unfinished message are kept.
    pub(crate) fn longest(&self) -> usize {
        match self {
            Self::Lines { max } | Self::Records { max, .. } => *max,
            Self::Datagram => 0,
        }
    }
}

/// Who answers a helper's questions: the supervisor, or a test.
pub trait Judge {
    /// Asks for an expectation on behalf of the packet `ticket`; blocks.
    fn expect(&mut self, ticket: Ticket, expect: &Expect) -> Result<Grant, Refused>;
    /// Takes an expectation back; blocks.
    fn withdraw(&mut self, ticket: Ticket, id: ExpectId);
}

/// No expectation. The helper goes on and leaves the payload as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Policy or kernel said no.
    By(Rule),
    /// The packet or the connection is no longer there.
    Gone,
}

/// A TCP connection from the peer to `dst`:`dport`, in the class of this index.
pub fn tcp(class: u8, dst: IpAddr, dport: u16) -> Expect {
    Expect { class, proto: L4::Tcp.number(), src: Source::Peer, sport: None, dst, dport, permanent: false }
}

/// UDP packets from the peer to `dst`:`dport`, in the class of this index.
pub fn udp(class: u8, dst: IpAddr, dport: u16) -> Expect {
    Expect { proto: L4::Udp.number(), ..tcp(class, dst, dport) }
}

/// UDP packets from anybody to the port that sent this message, in the class of this index, until the class's timeout: the answers to a
/// question that went to many.
pub fn answers(class: u8, cx: &Cx<'_>) -> Expect {
    Expect { src: Source::Anyone, permanent: true, ..udp(class, cx.sender(), cx.sender_port()) }
}

/// One message's surroundings: the packet, its flow, the private state; and what may be done.
pub struct Cx<'a> {
    pub(crate) header: &'a PacketHeader,
    pub(crate) settings: &'a Settings,
    pub(crate) judge: &'a mut dyn Judge,
    pub(crate) state: &'a mut State,
    pub(crate) framing: Framing,
    pub(crate) place: Place,
    pub(crate) done: Done,
}

/// Where the message lies in the payload.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    /// Length of the message, bytes.
    pub(crate) len: usize,
    /// What of it is in this payload; the rest came in earlier segments.
    pub(crate) pieces: Vec<Piece>,
}

impl Place {
    /// A message of `len` bytes whose first `before` came in earlier segments, and the others stand at `at`. There may be one for each byte
    /// of a packet, so its memory is used again.
    pub(crate) fn set(&mut self, len: usize, before: usize, at: usize) {
        self.len = len;
        self.pieces.clear();
        self.pieces.push(Piece { from: before, at, len: len.saturating_sub(before), mark: None });
    }
}

/// What the helper has done to the packet so far.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) edits: Vec<Edit>,
    pub(crate) asks: usize,
}

impl Cx<'_> {
    /// Which way the message goes.
    pub fn dir(&self) -> Dir {
        self.header.info.dir()
    }

    /// The connection.
    pub fn flow(&self) -> &Flow {
        &self.header.flow
    }

    /// What the operator set for this helper.
    pub fn settings(&self) -> &Settings {
        self.settings
    }

    /// Address of the message's sender, as it knows itself.
    pub fn sender(&self) -> IpAddr {
        self.flow().tuple(self.dir()).src
    }

    /// Port of the message's sender, as it knows itself.
    pub fn sender_port(&self) -> u16 {
        self.flow().tuple(self.dir()).sport
    }

    /// Whether the message goes to many hosts: multicast or IPv4 broadcast. No mask is known here, so any address that ends in 255 counts
    /// as a network's broadcast address.
    pub fn asks_many(&self) -> bool {
        match self.peer() {
            IpAddr::V4(addr) => addr.is_multicast() || addr.octets().last() == Some(&255),
            IpAddr::V6(addr) => addr.is_multicast(),
        }
    }

    /// Address of the message's sender, as the receiver knows it.
    pub fn sender_seen_by_peer(&self) -> IpAddr {
        self.flow().tuple(self.dir().flip()).dst
    }

    /// Address of the message's receiver, as the sender knows it.
    pub fn peer(&self) -> IpAddr {
        self.flow().tuple(self.dir()).dst
    }

    /// The helper's private bytes: `state_len` of the manifest, less one with [`Framing::Lines`] and [`Framing::Records`]. Zero at first, kept by the kernel.
    pub fn memory(&self) -> &[u8] {
        let bytes = self.state.as_bytes();
        bytes.get(sdk::reserved(self.framing)..).unwrap_or_default()
    }

    /// The private bytes, to change. A change costs the kernel a little, so change them when something changed.
    pub fn memory_mut(&mut self) -> &mut [u8] {
        let reserved = sdk::reserved(self.framing);
        self.state.as_bytes_mut().get_mut(reserved..).unwrap_or_default()
    }

    /// From the next message on, this connection is opaque (encrypted): never look at it again. Needs [`Framing::Lines`] or
    /// [`Framing::Records`].
    pub fn go_blind(&mut self) {
        sdk::set(self.state, self.framing, sdk::BLIND, true);
    }

    /// Asks the supervisor to expect a connection, and waits for the answer. When this returns `Ok`, the kernel expects it, and the
    /// peer must be told [`Grant::addr`] and [`Grant::port`].
    pub fn expect(&mut self, expect: Expect) -> Result<Grant, Refused> {
        self.done.asks += 1;
        if self.done.asks > MAX_ASKS {
            return Err(Refused::By(Rule::PerPacket));
        }
        self.judge.expect(self.header.ticket, &expect)
    }

    /// Takes a granted expectation back.
    pub fn withdraw(&mut self, id: ExpectId) {
        self.judge.withdraw(self.header.ticket, id);
    }

    /// Tells the peer what was granted: puts `text` in place of the message's bytes `range`. If that is impossible the grant is taken back,
    /// because the peer is told something else.
    ///
    /// # Errors
    /// As [`Self::replace`]; and `granted address` when there is no `text`, because the message's form cannot say it.
    pub fn tell(&mut self, grant: &Grant, range: Range<usize>, text: Option<impl AsRef<[u8]>>) -> Result<(), Malformed> {
        let told = text.ok_or(Malformed("granted address")).and_then(|text| self.replace(range, text));
        if told.is_err() {
            self.withdraw(grant.id);
        }
        told
    }

    /// Puts `text` in place of the message's bytes `range`. Replace from left to right, without overlap.
    ///
    /// # Errors
    /// `split announcement`: part of it came in an earlier segment, which has gone on. `edit`: outside the message, out of order, too
    /// long ([`Edit::MAX_PUT`]) or too many ([`Edit::MAX`]).
    pub fn replace(&mut self, range: Range<usize>, text: impl AsRef<[u8]>) -> Result<(), Malformed> {
        const BAD: Malformed = Malformed("edit");
        let put = text.as_ref().to_vec();
        if range.start > range.end || range.end > self.place.len || put.len() > Edit::MAX_PUT {
            return Err(BAD);
        }
        let whole = |piece: &&Piece| piece.from <= range.start && range.end <= piece.from + piece.len;
        let piece = *self.place.pieces.iter().find(whole).ok_or(Malformed("split announcement"))?;
        let at = u16::try_from(piece.at + (range.start - piece.from)).map_err(|_| BAD)?;
        let cut = u16::try_from(range.len()).map_err(|_| BAD)?;
        let free_from = self.done.edits.last().map_or(0, |last| usize::from(last.at) + usize::from(last.cut));
        if usize::from(at) < free_from {
            return Err(BAD);
        }
        let remark = piece.mark.filter(|_| put.len() != range.len()).map(|mark| (mark, put.len(), range.len()));
        if self.done.edits.len() + usize::from(remark.is_some()) >= Edit::MAX {
            return Err(BAD);
        }
        self.done.edits.push(Edit { at, cut, put });
        remark.map_or(Ok(()), |(mark, put, cut)| self.remark(mark, put, cut)).inspect_err(|_| {
            self.done.edits.pop();
        })
    }

    /// Has the mark of a fragment count `put` bytes where it counted `cut`.
    fn remark(&mut self, mark: FragmentMark, put: usize, cut: usize) -> Result<(), Malformed> {
        const BAD: Malformed = Malformed("edit");
        let at = u16::try_from(mark.at.ok_or(Malformed("split announcement"))?).map_err(|_| BAD)?;
        let place = self.done.edits.partition_point(|edit| edit.at < at);
        let before = self.done.edits.get(place).filter(|edit| edit.at == at);
        let before = before.and_then(|edit| edit.put.first_chunk()).map_or(mark.value, |bytes| u32::from_be_bytes(*bytes));
        let grown = i32::try_from(put).ok().zip(i32::try_from(cut).ok()).map(|(put, cut)| put - cut).ok_or(BAD)?;
        let value = before.checked_add_signed(grown).filter(|value| value & LAST == before & LAST).ok_or(BAD)?;
        let edit = Edit { at, cut: 4, put: value.to_be_bytes().to_vec() };
        match self.done.edits.get_mut(place) {
            Some(there) if there.at == at => *there = edit,
            _ => self.done.edits.insert(place, edit),
        }
        Ok(())
    }
}
