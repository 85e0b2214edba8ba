//! Which segments of one direction have been seen, and which TCP was made to send again.

/// How often the segment with the start of a cut message is withheld: TCP repeats it alone when the rest has not been sent yet. The
/// supervisor's limit for one segment must not be lower.
pub(super) const HEADS: u8 = 3;
/// How often segments behind it are withheld: the other pieces of the message, and the last of them again as tail loss probe (RFC 8985 §7).
pub(super) const OTHERS: u8 = 6;

/// The segments of one direction.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// End of the newest segment that went on.
    newest: Option<u32>,
    /// The segment that TCP was last made to send again because it ends in a cut message.
    withheld: Option<Withheld>,
    /// The newest gap, from and to: what comes from there is late, not repeated.
    gap: Option<(u32, u32)>,
}

/// A segment that did not go on.
#[derive(Clone, Copy, Debug)]
struct Withheld {
    /// Its first sequence number.
    start: u32,
    /// How often it, and how often what is behind it, was withheld.
    heads: u8,
    others: u8,
    /// It has not gone on yet.
    waiting: bool,
}

/// Sequence number behind `len` bytes from `seq`.
#[allow(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
pub fn end_of(seq: u32, len: usize) -> u32 {
    seq.wrapping_add(len as u32)
}

/// Sequence number `len` bytes before `seq`.
#[allow(clippy::cast_possible_truncation, reason = "sequence numbers are modulo 2^32")]
pub fn start_of(seq: u32, len: usize) -> u32 {
    seq.wrapping_sub(len as u32)
}

/// Whether sequence number `seq` comes after `other`, modulo 2³².
pub(super) fn is_behind(seq: u32, other: u32) -> bool {
    seq != other && seq.wrapping_sub(other) < 1 << 31
}

impl Order {
    /// Whether a segment has gone on.
    pub fn has_begun(&self) -> bool {
        self.newest.is_some()
    }

    /// Whether a segment that ends at `end` is at least as new as all that went on before.
    pub fn is_newest(&self, end: u32) -> bool {
        self.newest.is_none_or(|newest| end.wrapping_sub(newest) < 1 << 31)
    }

    /// Whether all of the segment from `seq` to `end` has gone on before.
    pub fn is_repeated(&self, seq: u32, end: u32) -> bool {
        let late = self.gap.is_some_and(|(from, to)| seq.wrapping_sub(from) < to.wrapping_sub(from));
        !late && self.newest.is_some_and(|newest| newest.wrapping_sub(end) < 1 << 31)
    }

    /// Whether the segment at `seq` stands behind one that TCP was made to send again and has not yet: it must not go on before that, because
    /// what is repeated then could not become longer, and because TCP repeats both in one piece only if none has arrived
    /// (`tcp_retrans_try_collapse`, Linux 6.12).
    pub fn is_behind_withheld(&self, seq: u32) -> bool {
        self.withheld.is_some_and(|withheld| withheld.waiting && is_behind(seq, withheld.start))
    }

    /// Whether the segment from `seq` to `end` may be withheld (once more).
    pub fn may_withhold(&self, seq: u32, end: u32) -> bool {
        let patient = match self.withheld {
            Some(withheld) if withheld.start == seq => withheld.waiting && withheld.heads < HEADS,
            Some(withheld) if self.is_behind_withheld(seq) => withheld.others < OTHERS,
            _ => true,
        };
        patient && !self.is_repeated(seq, end)
    }

    /// The segment at `seq` does not go on, so nothing else is remembered of it.
    pub fn withhold(&mut self, seq: u32) {
        let behind = self.is_behind_withheld(seq);
        match &mut self.withheld {
            Some(withheld) if withheld.start == seq => withheld.heads += 1,
            Some(withheld) if behind => withheld.others += 1,
            withheld => *withheld = Some(Withheld { start: seq, heads: 1, others: 0, waiting: true }),
        }
    }

    /// Remembers that the segment from `seq` to `end` goes on; whether it is at least as new as all before.
    pub fn close(&mut self, seq: u32, end: u32) -> bool {
        if let Some(withheld) = &mut self.withheld {
            withheld.waiting &= !is_behind(end, withheld.start);
        }
        match (self.newest, &mut self.gap) {
            (_, Some((from, _))) if *from == seq => *from = end,
            (Some(newest), gap) if newest != seq && seq.wrapping_sub(newest) < 1 << 31 => *gap = Some((newest, seq)),
            _ => {}
        }
        let newest = self.is_newest(end);
        if newest {
            self.newest = Some(end);
        }
        newest
    }
}
