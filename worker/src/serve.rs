//! One packet in, one verdict out. No I/O: what the helper asks goes to a [`Judge`].

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{PacketHeader, Ruling, Segment, Settings, Ticket, Verdict};
use cthelper_proto::types::{CtInfo, FlowId};

use crate::flows::{Flows, Known};
use crate::helper::{Cx, Done, Framing, Helper, Judge, Place};
use crate::stream::{Found, end_of};

/// The part of the private state that belongs to the SDK: with [`Framing::Lines`] the first byte.
pub(crate) mod sdk {
    use cthelper_proto::types::{Dir, State};

    use crate::helper::Framing;

    /// The newest segment of a direction ended in the middle of a line: Orig 1, Reply 2.
    pub(crate) fn mid_line(dir: Dir) -> u8 {
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
            Framing::Lines { .. } => 1,
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
    framing: Framing,
    settings: Settings,
    flows: Flows,
}

/// What became of one packet.
struct Outcome {
    done: Done,
    malformed: Option<Malformed>,
    resend: bool,
}

impl Server {
    /// A helper that knows no flow yet.
    pub fn new(helper: Box<dyn Helper>, settings: Settings) -> Self {
        Self { framing: helper.framing(), helper, settings, flows: Flows::default() }
    }

    /// Reads one packet.
    pub fn packet(&mut self, header: &PacketHeader, payload: &[u8], judge: &mut dyn Judge) -> Verdict {
        // Without the state nothing is known; and payload before the end of the handshake is not looked at.
        let Some(known) = self.flows.recall(header.flow.id, header.state) else { return passed(header.ticket) };
        if header.tcp.is_some() && matches!(header.info, CtInfo::New | CtInfo::Related | CtInfo::RelatedReply) {
            return passed(header.ticket);
        }
        let before = known.state;
        let reading =
            Reading { helper: &mut *self.helper, framing: self.framing, settings: &self.settings, header, payload, judge };
        let outcome = match (self.framing, header.tcp) {
            (Framing::Lines { max }, Some(segment)) => reading.lines(known, segment, max),
            (Framing::Lines { .. }, None) => return passed(header.ticket),
            (Framing::Datagram, _) => reading.datagram(known),
        };
        if outcome.resend {
            known.state = before;
        }
        Verdict {
            ticket: header.ticket,
            ruling: if outcome.resend { Ruling::Resend } else { Ruling::Pass },
            edits: if outcome.resend { Vec::new() } else { outcome.done.edits },
            state: (known.state != before).then_some(known.state),
            malformed: outcome.malformed.map(|Malformed(field)| field.chars().take(32).collect()),
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

impl Reading<'_> {
    fn datagram(self, known: &mut Known) -> Outcome {
        let place = Place { before: 0, at: 0, len: self.payload.len() };
        let mut cx = Cx {
            header: self.header,
            settings: self.settings,
            judge: self.judge,
            state: &mut known.state,
            framing: self.framing,
            place,
            done: Done::default(),
        };
        let malformed = self.helper.message(&mut cx, self.payload).err();
        Outcome { done: cx.done, malformed, resend: false }
    }

    fn lines(self, known: &mut Known, segment: Segment, max: usize) -> Outcome {
        let dir = self.header.info.dir();
        let mid_line = sdk::has(&known.state, self.framing, sdk::mid_line(dir));
        let [orig, reply] = &mut known.lines;
        let sync = if dir.index() == 0 { orig } else { reply };
        let mut lines = sync.open(segment.seq, self.payload, mid_line, max);
        let (from_start, continues_resent) = (lines.read_from_start(), lines.continues_resent());
        let mut cx = Cx {
            header: self.header,
            settings: self.settings,
            judge: self.judge,
            state: &mut known.state,
            framing: self.framing,
            place: Place::default(),
            done: Done::default(),
        };
        let mut malformed = None;
        while !sdk::has(cx.state, self.framing, sdk::BLIND)
            && let Some(found) = lines.next_line()
        {
            let read = match &found {
                Found::Line(line) => {
                    cx.place = Place { before: line.before, at: line.at, len: line.text.len() };
                    self.helper.message(&mut cx, &line.text)
                }
                Found::TooLong => Err(Malformed("line length")),
            };
            malformed = malformed.or(read.err());
        }
        if sdk::has(cx.state, self.framing, sdk::BLIND) {
            return Outcome { done: cx.done, malformed, resend: false };
        }
        let fresh_tail = lines.ends_in_fresh_line() || continues_resent;
        let rest = lines.rest();
        malformed = malformed.or(rest.too_long.then_some(Malformed("line length")));
        let cut = !segment.last && fresh_tail && !rest.partial.is_empty() && self.helper.wants_whole(&cx, &rest.partial);
        let resend = self.header.flow.is_translated() && (cut || (continues_resent && cx.done.split));
        let end = end_of(segment.seq, self.payload.len());
        if sync.is_newest(end) {
            sdk::set(cx.state, self.framing, sdk::mid_line(dir), rest.is_mid_line());
        }
        let done = cx.done;
        sync.close(segment.seq, self.payload.len(), from_start, rest, resend);
        Outcome { done, malformed, resend }
    }
}
