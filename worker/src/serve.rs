//! One packet in, one verdict out. No I/O: what the helper asks goes to a [`Judge`].

mod records;

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{PacketHeader, Ruling, Segment, Settings, Ticket, Verdict};
use cthelper_proto::types::{CtInfo, Dir, FlowId, L4, State};

use crate::flows::{Flows, Known};
use crate::helper::{Cx, Done, Framing, Helper, Judge, Place};
use crate::stream::{Found, Lines, end_of};

/// The part of the private state that belongs to the SDK: with [`Framing::Lines`] and [`Framing::Records`] the first byte.
pub(crate) mod sdk {
    use cthelper_proto::types::{Dir, State};

    use crate::helper::Framing;

    /// The newest segment of a direction ended in the middle of a message: Orig 1, Reply 2.
    pub(crate) fn mid_message(dir: Dir) -> u8 {
        match dir {
            Dir::Orig => 1,
            Dir::Reply => 2,
        }
    }

    /// The helper has declared the connection opaque.
    pub(crate) const BLIND: u8 = 4;

    /// How many bytes are the SDK's.
    pub(crate) fn reserved(framing: Framing) -> usize {
        match framing {
            Framing::Lines { .. } | Framing::Records { .. } => 1,
            Framing::Datagram => 0,
        }
    }

    /// Whether a flag is set.
    pub(crate) fn has(state: &State, framing: Framing, flag: u8) -> bool {
        reserved(framing) > 0 && state.as_bytes().first().is_some_and(|byte| byte & flag != 0)
    }

    /// Sets or clears a flag.
    pub(crate) fn set(state: &mut State, framing: Framing, flag: u8, on: bool) {
        if reserved(framing) > 0
            && let Some(byte) = state.as_bytes_mut().first_mut()
        {
            *byte = if on { *byte | flag } else { *byte & !flag };
        }
    }
}

/// A helper and what it knows of its flows.
pub struct Server {
    helper: Box<dyn Helper>,
    /// On TCP, on UDP.
    framings: [Framing; 2],
    settings: Settings,
    flows: Flows,
}

/// What became of one packet.
struct Outcome {
    done: Done,
    malformed: Option<Malformed>,
    /// The packet will come again, or has come before: the private state stays as it was.
    drop_state: bool,
    resend: bool,
}

impl Server {
    /// A helper that knows no flow yet.
    pub fn new(helper: Box<dyn Helper>, settings: Settings) -> Self {
        let framings = [helper.framing(L4::Tcp), helper.framing(L4::Udp)];
        let longest = framings.iter().map(Framing::longest).max().unwrap_or(0);
        Self { framings, helper, settings, flows: Flows::of_messages(longest) }
    }

    /// Reads one packet.
    pub fn packet(&mut self, header: &PacketHeader, payload: &[u8], judge: &mut dyn Judge) -> Verdict {
        // Without the state nothing is known; and payload before the end of the handshake is not looked at.
        let Some(known) = self.flows.recall(header.flow.id, header.state) else { return passed(header.ticket) };
        if header.tcp.is_some() && matches!(header.info, CtInfo::New | CtInfo::Related | CtInfo::RelatedReply) {
            return passed(header.ticket);
        }
        let before = known.state;
        let [tcp, udp] = self.framings;
        let framing = if header.tcp.is_some() { tcp } else { udp };
        let reading = Reading { helper: &mut *self.helper, framing, settings: &self.settings, header, payload, judge };
        let outcome = match (framing, header.tcp) {
            (Framing::Lines { max }, Some(segment)) => reading.lines(known, segment, max),
            (Framing::Records { mark, max }, Some(segment)) => reading.records(known, segment, mark, max),
            (Framing::Lines { .. } | Framing::Records { .. }, None) => return passed(header.ticket),
            (Framing::Datagram, _) => reading.datagram(known),
        };
        if outcome.drop_state {
            known.state = before;
        }
        Verdict {
            ticket: header.ticket,
            ruling: if outcome.resend { Ruling::Resend } else { Ruling::Pass },
            edits: if outcome.resend { Vec::new() } else { outcome.done.edits },
            state: (known.state != before).then_some(known.state),
            // What comes again is counted then.
            malformed: outcome.malformed.filter(|_| !outcome.resend).map(|Malformed(field)| field.chars().take(32).collect()),
        }
    }

    /// Forgets a connection that is gone.
    pub fn closed(&mut self, flow: FlowId) {
        self.flows.forget(flow);
    }

    /// Flows remembered now.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }
}

fn passed(ticket: Ticket) -> Verdict {
    Verdict { ticket, ruling: Ruling::Pass, edits: Vec::new(), state: None, malformed: None }
}

/// One packet on its way through the helper.
struct Reading<'a> {
    helper: &'a mut dyn Helper,
    framing: Framing,
    settings: &'a Settings,
    header: &'a PacketHeader,
    payload: &'a [u8],
    judge: &'a mut dyn Judge,
}

impl<'a> Reading<'a> {
    /// The helper, and its view of this packet.
    fn cx<'c>(self, state: &'c mut State) -> (&'c mut dyn Helper, Cx<'c>)
    where
        'a: 'c,
    {
        let Self { helper, framing, settings, header, judge, .. } = self;
        (helper, Cx { header, settings, judge, state, framing, place: Place::default(), done: Done::default() })
    }

    fn datagram(self, known: &mut Known) -> Outcome {
        let (payload, dir, segment) = (self.payload, self.header.info.dir(), self.header.tcp);
        let (helper, mut cx) = self.cx(&mut known.state);
        cx.place.set(payload.len(), 0, 0);
        let malformed = helper.message(&mut cx, payload).err();
        let done = cx.done;
        let mut drop_state = false;
        if let Some(Segment { seq, .. }) = segment {
            let (order, end) = (&mut side(&mut known.lines, dir).order, end_of(seq, payload.len()));
            drop_state = order.is_repeated(seq, end);
            order.close(seq, end);
        }
        Outcome { done, malformed, drop_state, resend: false }
    }

    fn lines(self, known: &mut Known, segment: Segment, max: usize) -> Outcome {
        let (dir, len) = (self.header.info.dir(), self.payload.len());
        let mid_line = sdk::has(&known.state, self.framing, sdk::mid_message(dir));
        let sync = side(&mut known.lines, dir);
        let (end, translated) = (end_of(segment.seq, len), self.header.flow.is_translated());
        let sees = !sdk::has(&known.state, self.framing, sdk::BLIND);
        if sees && translated && sync.order.is_behind_withheld(segment.seq) && sync.order.may_withhold(segment.seq, end) {
            sync.order.withhold(segment.seq);
            return Outcome { done: Done::default(), malformed: None, drop_state: true, resend: true };
        }
        let mut lines = sync.open(segment.seq, self.payload, mid_line, max);
        let (from_start, framing) = (lines.read_from_start(), self.framing);
        let (helper, mut cx) = self.cx(&mut known.state);
        let mut malformed = read_lines(helper, &mut cx, &mut lines);
        let fresh = lines.ends_in_fresh_line();
        let rest = lines.rest();
        if let Some(head) = rest.too_long.as_ref().filter(|_| !sdk::has(cx.state, framing, sdk::BLIND)) {
            malformed = malformed.or(Some(overlong(helper, &mut cx, head)));
        }
        if sdk::has(cx.state, framing, sdk::BLIND) {
            return Outcome { done: cx.done, malformed, drop_state: false, resend: false };
        }

        let cut = fresh && !segment.last && !rest.partial.is_empty() && translated && sync.order.may_withhold(segment.seq, end);
        if cut && helper.wants_whole(&cx, &rest.partial) {
            sync.order.withhold(segment.seq);
            return Outcome { done: cx.done, malformed, drop_state: true, resend: true };
        }
        if sync.order.is_newest(end) {
            sdk::set(cx.state, framing, sdk::mid_message(dir), rest.is_mid_line());
        }
        let drop_state = sync.order.is_repeated(segment.seq, end);
        let done = cx.done;
        sync.close(segment.seq, len, from_start, rest);
        Outcome { done, malformed, drop_state, resend: false }
    }
}

/// What is known of this direction.
fn side<T>(both: &mut [T; 2], dir: Dir) -> &mut T {
    let [orig, reply] = both;
    if dir == Dir::Orig { orig } else { reply }
}

/// Hands the head of a line that is too long to the helper.
fn overlong(helper: &mut dyn Helper, cx: &mut Cx<'_>, head: &[u8]) -> Malformed {
    cx.place = Place::default();
    helper.overlong(cx, head);
    Malformed("line length")
}

/// Hands every line to the helper, until it calls the connection opaque. What is malformed first is reported.
fn read_lines(helper: &mut dyn Helper, cx: &mut Cx<'_>, lines: &mut Lines<'_>) -> Option<Malformed> {
    let mut malformed = None;
    while !sdk::has(cx.state, cx.framing, sdk::BLIND)
        && let Some(found) = lines.next_line()
    {
        let read = match &found {
            Found::Line(line) => {
                cx.place.set(line.text.len(), line.before, line.at);
                helper.message(cx, &line.text)
            }
            Found::TooLong(head) => Err(overlong(helper, cx, head)),
        };
        malformed = malformed.or(read.err());
    }
    malformed
}
