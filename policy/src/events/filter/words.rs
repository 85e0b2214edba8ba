//! The words of the language, each in one table.

use super::{Flag, Place, Zone};

/// What stands before a list of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Event,
    Family,
    Proto,
    State,
    Addr(Place),
    Port(Place),
    Zone(Zone),
    Mark,
    Label,
    Helper,
}

pub(super) const FIELDS: [(&str, Field); 20] = [
    ("event", Field::Event),
    ("family", Field::Family),
    ("proto", Field::Proto),
    ("state", Field::State),
    ("src", Field::Addr(Place::Src)),
    ("dst", Field::Addr(Place::Dst)),
    ("reply-src", Field::Addr(Place::ReplySrc)),
    ("reply-dst", Field::Addr(Place::ReplyDst)),
    ("addr", Field::Addr(Place::Any)),
    ("sport", Field::Port(Place::Src)),
    ("dport", Field::Port(Place::Dst)),
    ("reply-sport", Field::Port(Place::ReplySrc)),
    ("reply-dport", Field::Port(Place::ReplyDst)),
    ("port", Field::Port(Place::Any)),
    ("zone", Field::Zone(Zone::Any)),
    ("zone-orig", Field::Zone(Zone::Orig)),
    ("zone-reply", Field::Zone(Zone::Reply)),
    ("mark", Field::Mark),
    ("label", Field::Label),
    ("helper", Field::Helper),
];

pub(super) const FLAGS: [(&str, Flag); 8] = [
    ("replied", Flag::Replied),
    ("assured", Flag::Assured),
    ("nated", Flag::Nated),
    ("snat", Flag::Snat),
    ("dnat", Flag::Dnat),
    ("expected", Flag::Expected),
    ("helped", Flag::Helped),
    ("offloaded", Flag::Offloaded),
];

pub(super) const PROTOCOLS: [(&str, u8); 8] =
    [("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("icmpv6", 58), ("sctp", 132), ("udplite", 136)];

/// The value of a word.
pub(super) fn value<T: Copy>(table: &[(&'static str, T)], word: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// The word of a value.
pub(super) fn word<T: PartialEq>(table: &[(&'static str, T)], value: &T) -> Option<&'static str> {
    table.iter().find(|(_, known)| known == value).map(|(word, _)| *word)
}

/// Everything that can begin a test.
pub(super) fn beginnings() -> impl Iterator<Item = &'static str> {
    FIELDS.iter().map(|(word, _)| *word).chain(FLAGS.iter().map(|(word, _)| *word)).chain(["not"])
}
