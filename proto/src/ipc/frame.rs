//! One record = u16 header length (little-endian), bincode header, raw payload. The only file that names bincode.

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Largest header, bytes: bounds every allocation a peer can cause by decoding. A verdict with 16 edits of 512 bytes fits.
pub const MAX_HEADER: usize = 16 * 1024;
/// Largest record, bytes: header plus the largest payload of an IP packet.
pub const MAX_RECORD: usize = 2 + MAX_HEADER + 65_535;

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

/// Replaces `record` by the framed `message`; a raw payload may be appended to it.
pub fn encode_into<T: Serialize>(message: &T, record: &mut Vec<u8>) -> Result<(), FrameError> {
    record.clear();
    record.extend_from_slice(&[0, 0]);
    bincode::serde::encode_into_std_write(message, record, CONFIG).map_err(|_| FrameError::TooLong)?;
    let length = u16::try_from(record.len() - 2).map_err(|_| FrameError::TooLong)?;
    if usize::from(length) > MAX_HEADER {
        return Err(FrameError::TooLong);
    }
    if let Some(prefix) = record.first_chunk_mut() {
        *prefix = length.to_le_bytes();
    }
    Ok(())
}

/// The framed `message`.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut record = Vec::new();
    encode_into(message, &mut record)?;
    Ok(record)
}

/// The message of a record and the raw payload behind it.
pub fn decode<T: DeserializeOwned>(record: &[u8]) -> Result<(T, &[u8]), FrameError> {
    let (prefix, rest) = record.split_first_chunk().ok_or(FrameError::Short)?;
    let (header, payload) = rest.split_at_checked(usize::from(u16::from_le_bytes(*prefix))).ok_or(FrameError::Short)?;
    let (message, read) = bincode::serde::decode_from_slice(header, CONFIG).map_err(|_| FrameError::Unknown)?;
    if read == header.len() { Ok((message, payload)) } else { Err(FrameError::Trailing) }
}
