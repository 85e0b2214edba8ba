//! What a packet in hand is kept with, so that another worker can be shown the same: its connection, its direction, the helper's private
//! bytes. It stands in a comment of the pcapng file, which Wireshark shows and keeps.

use std::net::IpAddr;

use cthelper_proto::types::{CtInfo, Flow, FlowId, State, Tuple};
use serde::{Deserialize, Serialize};

use super::text::{hex, unhex};

/// How the comment begins; the rest is one JSON object.
const MARK: &str = "cthelperd-replay: ";
/// Longest comment that is read, bytes; ours have half of that at most.
const LONGEST: usize = 4096;

/// A packet in hand, but for its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhibit {
    /// Whose death it is evidence of.
    pub crash: String,
    /// Which helper's.
    pub helper: String,
    /// How the worker ended, in words.
    pub cause: String,
    /// The packet's connection.
    pub flow: Flow,
    /// Where that stood, and with it the packet's direction.
    pub info: CtInfo,
    /// Whether the kernel had it in its table.
    pub confirmed: bool,
    /// The private bytes the worker was given.
    pub state: State,
}

/// The object in the comment.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    crash: String,
    helper: String,
    cause: String,
    id: u32,
    proto: u8,
    orig: Side,
    reply: Side,
    info: u32,
    confirmed: bool,
    state: String,
}

/// One side's view of the connection.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Side {
    src: IpAddr,
    sport: u16,
    dst: IpAddr,
    dport: u16,
}

impl Exhibit {
    /// For people: the first comment of the packet.
    pub fn words(&self) -> String {
        let Self { crash, helper, cause, .. } = self;
        format!("cthelperd: in hand when a worker of helper {helper} ended: {cause}; crash {crash}")
    }

    /// For [`Self::read`]: the second comment.
    pub fn comment(&self) -> String {
        let note = Note {
            crash: self.crash.clone(),
            helper: self.helper.clone(),
            cause: self.cause.clone(),
            id: self.flow.id.0,
            proto: self.flow.orig.proto,
            orig: Side::of(&self.flow.orig),
            reply: Side::of(&self.flow.reply),
            info: number(self.info),
            confirmed: self.confirmed,
            state: hex(self.state.as_bytes()),
        };
        format!("{MARK}{}", serde_json::to_string(&note).unwrap_or_default())
    }

    /// What such a comment says; `None` = it is somebody else's.
    ///
    /// # Errors
    /// It is ours, and damaged.
    pub fn read(comment: &[u8]) -> Option<Result<Self, String>> {
        let rest = comment.strip_prefix(MARK.as_bytes())?;
        if rest.len() > LONGEST {
            return Some(Err(format!("cthelperd's comment is longer than {LONGEST} bytes")));
        }
        let note = serde_json::from_slice::<Note>(rest).map_err(|error| format!("cthelperd's comment: {error}"));
        Some(note.and_then(|note| note.exhibit().map_err(|field| format!("cthelperd's comment: {field} cannot be"))))
    }
}

impl Note {
    /// The exhibit, or the name of the field that cannot be.
    fn exhibit(self) -> Result<Exhibit, &'static str> {
        let (orig, reply) = (self.orig.tuple(self.proto), self.reply.tuple(self.proto));
        let is_one_family = [orig.dst, reply.src, reply.dst].iter().all(|addr| addr.is_ipv4() == orig.src.is_ipv4());
        let is_safe = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        match () {
            () if !is_one_family => Err("orig or reply"),
            () if !is_safe(&self.crash) => Err("crash"),
            () if !is_safe(&self.helper) => Err("helper"),
            () if !is_safe(&self.cause) => Err("cause"),
            () => Ok(Exhibit {
                crash: self.crash,
                helper: self.helper,
                cause: self.cause,
                flow: Flow { id: FlowId(self.id), orig, reply },
                info: CtInfo::from_number(self.info).ok_or("info")?,
                confirmed: self.confirmed,
                state: unhex(&self.state).and_then(|bytes| State::new(&bytes)).ok_or("state")?,
            }),
        }
    }
}

impl Side {
    fn of(tuple: &Tuple) -> Self {
        Self { src: tuple.src, sport: tuple.sport, dst: tuple.dst, dport: tuple.dport }
    }

    fn tuple(&self, proto: u8) -> Tuple {
        Tuple { src: self.src, dst: self.dst, proto, sport: self.sport, dport: self.dport }
    }
}

/// The inverse of [`CtInfo::from_number`].
fn number(info: CtInfo) -> u32 {
    match info {
        CtInfo::Established => 0,
        CtInfo::Related => 1,
        CtInfo::New => 2,
        CtInfo::EstablishedReply => 3,
        CtInfo::RelatedReply => 4,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packet of a translated connection.
    pub(crate) fn sample() -> Exhibit {
        let orig = Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto: 6, sport: 40_000, dport: 21 };
        let reply = Tuple { src: orig.dst, dst: [10, 0, 2, 1].into(), proto: 6, sport: 21, dport: 40_001 };
        Exhibit {
            crash: "ftp-19a000000ff-3".to_owned(),
            helper: "ftp".to_owned(),
            cause: "signal SIGSEGV".to_owned(),
            flow: Flow { id: FlowId(7), orig, reply },
            info: CtInfo::EstablishedReply,
            confirmed: true,
            state: State::new(&[1, 2, 0xff]).unwrap(),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for number in 0..5 {
            let exhibit = Exhibit { info: CtInfo::from_number(number).unwrap(), ..sample() };
            assert_eq!(Exhibit::read(exhibit.comment().as_bytes()), Some(Ok(exhibit)));
        }
    }

    #[test]
    fn a_strangers_comment_is_no_exhibit_and_a_damaged_one_says_what_is_wrong() {
        assert_eq!(Exhibit::read(b"lunch"), None);
        assert_eq!(Exhibit::read(sample().words().as_bytes()), None);
        let comment = sample().comment();
        for (good, bad, words) in [
            ("\"info\":3", "\"info\":5", "info cannot be"),
            ("0102ff", "0102f", "state cannot be"),
            ("signal", "\\u001b[2Jsignal", "cause cannot be"),
            ("\"src\":\"10.0.1.2\"", "\"src\":\"::1\"", "orig or reply cannot be"),
            ("\"id\"", "\"ident\"", "unknown field `ident`"),
        ] {
            let damaged = comment.replace(good, bad);
            let error = Exhibit::read(damaged.as_bytes()).unwrap().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let long = format!("{MARK}{}", " ".repeat(LONGEST + 1));
        assert!(Exhibit::read(long.as_bytes()).unwrap().unwrap_err().contains("longer than 4096 bytes"));
    }
}
