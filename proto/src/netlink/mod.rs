//! nfnetlink messages: framing, and the four subsystems a conntrack helper needs; a fifth for `nfct`.
//!
//! | module | speaks |
//! |---|---|
//! | [`message`] | headers, acknowledgements, requests |
//! | [`attrs`] | attributes, read |
//! | [`name`] | names, whatever bytes they have |
//! | [`mod@tuple`] | one side's view of a connection |
//! | [`cthelper`] | the registry of helpers |
//! | [`cttimeout`] | timeout policies, for `nfct` |
//! | [`queue`] | packets in, verdicts out |
//! | [`conntrack`] | connections and their events |
//! | [`expect`] | expectations, and the line that shows one |
//! | [`entry`] | all that an event tells of a connection |
//! | [`report`] | events of both kinds, as line and as JSON |
//!
//! Builders append one complete request to a buffer; several may stand in one buffer and go out in one send, and each is answered
//! on its own (`nfnetlink_rcv`). Headers are in the host's order, values big-endian. Attributes nobody here needs are skipped.

pub mod attrs;
pub mod conntrack;
pub mod cthelper;
pub mod cttimeout;
pub mod entry;
pub mod expect;
pub mod message;
pub mod name;
pub mod queue;
pub mod report;
mod text;
pub mod tuple;

pub use attrs::{Attr, Attrs};

#[cfg(test)]
#[cfg(target_endian = "little")]
mod golden;
#[cfg(test)]
#[cfg(target_endian = "little")]
mod properties;
