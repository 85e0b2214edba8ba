//! A record holds one or more frames: u16 header length, u32 payload length (both little-endian), bincode header, raw payload.
//! Several frames in one record cost one system call and one wake-up. The only file that names bincode.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reader::{Malformed, Reader};

/// Largest header, bytes: bounds every allocation a peer can cause by decoding. A verdict with 16 edits of 512 bytes fits.
pub const MAX_HEADER: usize = 16 * 1024;
/// Largest record, bytes: the frame of the largest IP packet.
pub const MAX_RECORD: usize = PREFIX + MAX_HEADER + 65_535;
/// Frames in one record at most. Beyond 32 the cost per frame hardly falls, and the peer waits longer for the first.
pub const MAX_FRAMES: usize = 32;
pub(super) const PREFIX: usize = 6;

const CONFIG: Configuration<LittleEndian, Fixint, Limit<MAX_HEADER>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit::<MAX_HEADER>();

/// The peer's record does not follow the protocol; whoever sent it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The record is shorter than it says.
    Short,
    /// The header is no message of this protocol.
    Unknown,
    /// Bytes of the header are left over.
    Trailing,
    /// Our own message exceeds [`MAX_HEADER`].
    TooLong,
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Short => "record shorter than its header says",
            Self::Unknown => "unknown message",
            Self::Trailing => "bytes after the message",
            Self::TooLong => "message too long",
        })
    }
}

/// Appends a frame to `record`; after an error the record is as it was.
pub fn append<T: Serialize>(message: &T, payload: &[u8], record: &mut Vec<u8>) -> Result<(), FrameError> {
    let start = record.len();
    record.extend_from_slice(&[0; PREFIX]);
    let framed = fill(message, payload, start, record);
    if framed.is_err() {
        record.truncate(start);
    }
    framed
}

fn fill<T: Serialize>(message: &T, payload: &[u8], start: usize, record: &mut Vec<u8>) -> Result<(), FrameError> {
    bincode::serde::encode_into_std_write(message, record, CONFIG).map_err(|_| FrameError::TooLong)?;
    let length = record.len() - start - PREFIX;
    let header = u16::try_from(length).ok().filter(|_| length <= MAX_HEADER).ok_or(FrameError::TooLong)?;
    let behind = u32::try_from(payload.len()).map_err(|_| FrameError::TooLong)?;
    let lengths = header.to_le_bytes().into_iter().chain(behind.to_le_bytes());
    record.iter_mut().skip(start).zip(lengths).for_each(|(byte, length)| *byte = length);
    record.extend_from_slice(payload);
    Ok(())
}

/// Replaces `record` by one frame without a payload.
pub fn encode_into<T: Serialize>(message: &T, record: &mut Vec<u8>) -> Result<(), FrameError> {
    record.clear();
    append(message, &[], record)
}

/// One frame without a payload.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut record = Vec::new();
    encode_into(message, &mut record)?;
    Ok(record)
}

/// The frames of a record, each message with the payload behind it; ends with the first error.
pub fn frames<T: DeserializeOwned>(record: &[u8]) -> impl Iterator<Item = Result<(T, &[u8]), FrameError>> {
    let mut reader = Reader::new(record);
    let mut broken = false;
    std::iter::from_fn(move || {
        if broken || reader.is_empty() {
            return None;
        }
        let frame = next(&mut reader);
        broken = frame.is_err();
        Some(frame)
    })
}

/// The only frame of a record.
pub fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<(T, &[u8]), FrameError> {
    let mut reader = Reader::new(record);
    let frame = next(&mut reader)?;
    if reader.is_empty() { Ok(frame) } else { Err(FrameError::Trailing) }
}

fn next<'a, T: DeserializeOwned>(reader: &mut Reader<'a>) -> Result<(T, &'a [u8]), FrameError> {
    let (header, payload) = split(reader).map_err(|_| FrameError::Short)?;
    let (message, read) = bincode::serde::decode_from_slice(header, CONFIG).map_err(|_| FrameError::Unknown)?;
    if read == header.len() { Ok((message, payload)) } else { Err(FrameError::Trailing) }
}

fn split<'a>(reader: &mut Reader<'a>) -> Result<(&'a [u8], &'a [u8]), Malformed> {
    let header = u16::from_le_bytes(*reader.array("header length")?);
    let payload = u32::from_le_bytes(*reader.array("payload length")?);
    let payload = usize::try_from(payload).map_err(|_| Malformed("payload length"))?;
    Ok((reader.take(usize::from(header), "header")?, reader.take(payload, "payload")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut record = Vec::new();
        for (word, payload) in [("one", &b"1"[..]), ("two", b""), ("three", b"333")] {
            append(&word, payload, &mut record).unwrap();
        }
        let heard: Vec<(String, &[u8])> = frames(&record).map(Result::unwrap).collect();
        assert_eq!(heard, [("one".into(), &b"1"[..]), ("two".into(), b""), ("three".into(), b"333")]);
        assert_eq!(decode::<String>(&record), Err(FrameError::Trailing));
    }

    #[test]
    fn a_cut_record_is_short_wherever_it_is_cut_and_nothing_follows_the_error() {
        let mut record = Vec::new();
        append(&"word", b"payload", &mut record).unwrap();
        for end in 1..record.len() {
            let heard: Vec<_> = frames::<String>(&record[..end]).collect();
            assert_eq!(heard, [Err(FrameError::Short)]);
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused_and_leaves_the_record_as_it_was() {
        let mut record = vec![7];
        assert_eq!(append(&"x".repeat(MAX_HEADER), &[], &mut record), Err(FrameError::TooLong));
        assert_eq!(record, [7]);
    }

    #[test]
    fn a_length_that_lies_about_a_collection_allocates_nothing() {
        let mut record = encode(&vec![0_u8; 4]).unwrap();
        record[6..14].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(decode::<Vec<u8>>(&record), Err(FrameError::Unknown));
    }
}
