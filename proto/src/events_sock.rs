//! `events.sock`: the broker and its subscribers. supervisor/EVENTS.md describes it for those who write one.
//!
//! A subscriber sends one line, a [`Request`] as JSON; the broker answers with one line, an [`Answer`] as JSON, and then sends frames until
//! either side closes: lines for `text` and `json`, netlink messages for `raw`. Between them stand notices of what was lost.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::netlink::message::{Body, Message, NLMSG_NOOP};
use crate::reader::Reader;

/// The socket's name in the runtime folder.
pub const SOCKET: &str = "events.sock";
/// Longest request line, bytes, with its newline.
pub const MAX_REQUEST: usize = 1024;

/// What a subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The queue's number.
    pub queue: u16,
    /// How events are to look; the queue's own default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// `text` with the time of each event, as `conntrack -o timestamp`.
    #[serde(default)]
    pub timestamp: bool,
    /// First everything that is there, between [`Notice::ResyncBegin`] and [`Notice::ResyncEnd`].
    #[serde(default)]
    pub resync: bool,
}

/// How events look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Lines of `conntrack -E`.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
    /// The kernel's netlink messages, one behind the other, each padded to 4 bytes.
    Raw,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Raw => "raw",
        })
    }
}

/// The broker's line before the first frame: `{"ok":{…}}` or `{"error":{…}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// Frames follow.
    Ok(Granted),
    /// Nothing follows.
    Error(Denied),
}

/// What a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Granted {
    /// The queue's number.
    pub queue: u16,
    /// How its frames look.
    pub format: Format,
}

/// Why a subscriber gets nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// For programs.
    pub code: Denial,
    /// For people.
    pub reason: String,
    /// With [`Denial::NoQueue`]: the numbers this user may ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<u16>,
}

/// Kinds of denials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Denial {
    /// The line is no request.
    BadRequest,
    /// No queue has this number.
    NoQueue,
    /// The configuration does not name this user, nor its group.
    Forbidden,
    /// There are as many subscribers as there may be.
    Busy,
}

/// What a subscriber must know beside events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "notice", rename_all = "kebab-case")]
pub enum Notice {
    /// This subscriber was too slow: so many of its events were dropped here.
    Lost {
        /// How many.
        events: u64,
    },
    /// The kernel dropped events, nobody knows how many: what the subscriber knows may be wrong until a resync.
    Gap,
    /// What follows, up to the end of the resync, is everything there is.
    ResyncBegin,
    /// From here on there are events again.
    ResyncEnd,
}

/// Payload of a notice in `raw`, bytes.
const RAW_NOTICE: usize = 16;
/// `CTEV`.
const MAGIC: u32 = 0x4354_4556;

impl Notice {
    /// As a netlink message of kind `NLMSG_NOOP`, which every netlink library skips. Behind the header, big-endian: `u32` magic `CTEV`,
    /// `u32` kind (1 lost, 2 gap, 3 resync begins, 4 resync ends), `u64` events lost.
    pub fn write_raw(self, out: &mut Vec<u8>) {
        let (kind, events): (u32, u64) = match self {
            Self::Lost { events } => (1, events),
            Self::Gap => (2, 0),
            Self::ResyncBegin => (3, 0),
            Self::ResyncEnd => (4, 0),
        };
        out.extend_from_slice(&32_u32.to_ne_bytes());
        out.extend_from_slice(&NLMSG_NOOP.to_ne_bytes());
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&events.to_be_bytes());
    }

    /// From a message of `raw`; `None` if it is no notice.
    pub fn from_raw(message: &Message<'_>) -> Option<Self> {
        let Body::Noop(payload) = message.body else { return None };
        let mut reader = Reader::new(payload.get(..RAW_NOTICE)?);
        let (magic, kind, events) = (reader.be32("").ok()?, reader.be32("").ok()?, reader.be64("").ok()?);
        match (magic, kind) {
            (MAGIC, 1) => Some(Self::Lost { events }),
            (MAGIC, 2) => Some(Self::Gap),
            (MAGIC, 3) => Some(Self::ResyncBegin),
            (MAGIC, 4) => Some(Self::ResyncEnd),
            _ => None,
        }
    }
}

impl fmt::Display for Notice {
    /// Its line in `text`, without the newline: no line of conntrack(8) begins so.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { events } => write!(f, "# lost {events}"),
            Self::Gap => f.write_str("# gap"),
            Self::ResyncBegin => f.write_str("# resync begin"),
            Self::ResyncEnd => f.write_str("# resync end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::message::messages;

    const ALL: [Notice; 4] = [Notice::Lost { events: u64::MAX - 5 }, Notice::Gap, Notice::ResyncBegin, Notice::ResyncEnd];

    #[test]
    fn a_raw_notice_is_a_whole_message_that_reads_back() {
        let mut out = Vec::new();
        for notice in ALL {
            notice.write_raw(&mut out);
        }
        let read: Vec<_> = messages(&out).map(|message| Notice::from_raw(&message.unwrap())).collect();
        assert_eq!(read, ALL.map(Some));
        assert_eq!(out.len(), 4 * 32);
    }

    #[test]
    fn anothers_no_op_is_no_notice() {
        let mut out = Vec::new();
        Notice::Gap.write_raw(&mut out);
        let notice = |out: &[u8]| Notice::from_raw(&messages(out).next().unwrap().unwrap());
        assert_eq!(notice(&out), Some(Notice::Gap));
        out[16] ^= 1;
        assert_eq!(notice(&out), None);
        let mut short = 20_u32.to_ne_bytes().to_vec();
        short.extend_from_slice(&out[4..20]);
        assert_eq!(notice(&short), None);
    }

    #[test]
    fn a_line_of_text_says_it() {
        assert_eq!(ALL.map(|notice| notice.to_string())[1..], ["# gap", "# resync begin", "# resync end"]);
        assert_eq!(Notice::Lost { events: 12 }.to_string(), "# lost 12");
    }
}
