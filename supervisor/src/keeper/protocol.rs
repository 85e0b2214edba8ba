//! Supervisor ⇄ keeper: one record of 20 bytes per message, on a `SOCK_SEQPACKET` socket.
//!
//! ```text
//! u8 version | u8 word | u16 queue (little-endian) | 16 bytes text, filled up with zeros
//! ```
//! Of a fixed size and with nothing in it that could grow: a keeper is as old as the supervisor that started it, and speaks with the next one,
//! which may be of another version. `Take` and `Bye` must keep their meaning in every version.

use std::fmt;

/// What this file describes.
pub const VERSION: u8 = 1;
/// Bytes of a record.
pub const RECORD: usize = 20;
const TEXT: usize = 16;

/// The first thing a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Keep this socket (attached) of this helper's queue. Answer: `Done` or `Refused`.
    Hold,
    /// Close the socket of this queue. Answer: `Done`, also if there is none.
    Forget,
    /// Give me duplicates of all. Answer: `Socket` for each, then `Done` with the listening socket, on which another keeper may listen.
    Take,
    /// An orderly stop: close all and end. Answer: hang-up.
    Bye,
    /// I am about to end, and my successor is about to start: let what comes wait for it. No answer. A keeper that is too old to know the word
    /// hangs up.
    Await,
    /// A socket (attached), with its helper and queue.
    Socket,
    /// Done.
    Done,
    /// Not done; the text says why.
    Refused,
}

const WORDS: [(u8, Word); 8] = [
    (1, Word::Hold),
    (2, Word::Forget),
    (3, Word::Take),
    (4, Word::Bye),
    (5, Word::Await),
    (16, Word::Socket),
    (17, Word::Done),
    (18, Word::Refused),
];

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What is said.
    pub word: Word,
    /// About which queue; 0 where it is about none.
    pub queue: u16,
    /// The helper's name, or the reason of a refusal; may be empty.
    pub text: String,
}

/// Why a record is none; the connection it came from is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Not of [`RECORD`] bytes.
    Length,
    /// Of another version.
    Version(u8),
    /// No word of this protocol.
    Word(u8),
    /// Not printable, or not filled up with zeros.
    Text,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => f.write_str("a record of another length"),
            Self::Version(version) => write!(f, "version {version} of the protocol, ours is {VERSION}"),
            Self::Word(word) => write!(f, "unknown word {word}"),
            Self::Text => f.write_str("text that is none"),
        }
    }
}

impl std::error::Error for Wrong {}

impl Record {
    /// A message about a queue.
    pub fn new(word: Word, queue: u16, text: &str) -> Self {
        Self { word, queue, text: text.to_owned() }
    }

    /// A message about nothing in particular.
    pub fn bare(word: Word) -> Self {
        Self::new(word, 0, "")
    }

    /// As it is sent; a text that is too long is cut.
    pub fn encode(&self) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let word = WORDS.iter().find(|(_, word)| *word == self.word).map_or(0, |(number, _)| *number);
        let [low, high] = self.queue.to_le_bytes();
        let head = [VERSION, word, low, high];
        let bytes = head.into_iter().chain(self.text.bytes().take(TEXT - 1));
        record.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
        record
    }

    /// As it was received.
    pub fn decode(record: &[u8]) -> Result<Self, Wrong> {
        let record: &[u8; RECORD] = record.try_into().map_err(|_| Wrong::Length)?;
        let [version, word, low, high, text @ ..] = record;
        if *version != VERSION {
            return Err(Wrong::Version(*version));
        }
        let (_, word) = WORDS.iter().find(|(number, _)| number == word).ok_or(Wrong::Word(*word))?;
        let length = text.iter().position(|byte| *byte == 0).ok_or(Wrong::Text)?;
        let (text, filling) = text.split_at(length);
        let printable = text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
        if !printable || filling.iter().any(|byte| *byte != 0) {
            return Err(Wrong::Text);
        }
        let text = text.iter().copied().map(char::from).collect();
        Ok(Self { word: *word, queue: u16::from_le_bytes([*low, *high]), text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        for (number, word) in WORDS {
            let record = Record::new(word, 6200, "fifteen-letters");
            assert_eq!(record.encode()[..4], [1, number, 0x38, 0x18]);
            assert_eq!(Record::decode(&record.encode()), Ok(record));
        }
        assert_eq!(Record::decode(&Record::bare(Word::Take).encode()), Ok(Record::bare(Word::Take)));
    }

    #[test]
    fn a_text_that_is_too_long_is_cut_and_still_ends() {
        let record = Record::new(Word::Refused, 0, &"x".repeat(100)).encode();
        assert_eq!(Record::decode(&record).unwrap().text, "x".repeat(15));
    }

    #[test]
    fn what_is_no_record_is_refused_by_name() {
        let good = Record::new(Word::Hold, 1, "ftp").encode();
        let with = |at: usize, byte: u8| {
            let mut record = good;
            record[at] = byte;
            Record::decode(&record)
        };
        assert_eq!(Record::decode(&good[..19]), Err(Wrong::Length));
        assert_eq!(Record::decode(&[]), Err(Wrong::Length));
        assert_eq!(with(0, 2), Err(Wrong::Version(2)));
        assert_eq!(with(1, 0), Err(Wrong::Word(0)));
        assert_eq!(with(1, 6), Err(Wrong::Word(6)));
        assert_eq!(with(5, 0), Err(Wrong::Text), "letters behind the end");
        assert_eq!(with(4, 7), Err(Wrong::Text), "a bell");
        let mut endless = good;
        endless[4..].fill(b'x');
        assert_eq!(Record::decode(&endless), Err(Wrong::Text));
    }
}
