//! A pcapng file (draft-ietf-opsawg-pcapng) of one packet that begins with its IP header, little-endian, microseconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Link type of such a packet (`LINKTYPE_RAW`).
const RAW_IP: u16 = 101;
/// Option codes: a comment, of any block; the program that wrote the section.
const COMMENT: u16 = 1;
const PROGRAM: u16 = 4;
/// Longest comment, bytes: what an option's length can say, less its padding.
const COMMENT_MAX: usize = 65_532;

/// The file.
pub fn file(packet: &[u8], at: SystemTime, comments: &[String]) -> Vec<u8> {
    let program = concat!("cthelperd ", env!("CARGO_PKG_VERSION"));
    let mut section = [&0x1a2b_3c4d_u32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    option(&mut section, PROGRAM, program.as_bytes());
    end_options(&mut section);
    let interface = [RAW_IP.to_le_bytes(), [0; 2], [0; 2], [0; 2]].concat(); // no limit on a packet's length
    [block(0x0a0d_0d0a, &section), block(1, &interface), block(6, &enhanced(packet, at, comments))].concat()
}

/// The body of an enhanced packet block.
fn enhanced(packet: &[u8], at: SystemTime, comments: &[String]) -> Vec<u8> {
    let ticks = micros(at.duration_since(UNIX_EPOCH).unwrap_or_default());
    let length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
    let mut body = [0_u32, high(ticks), low(ticks), length, length].map(u32::to_le_bytes).concat();
    body.extend(packet);
    pad(&mut body);
    for comment in comments {
        option(&mut body, COMMENT, comment.as_bytes().get(..COMMENT_MAX).unwrap_or(comment.as_bytes()));
    }
    end_options(&mut body);
    body
}

fn micros(since: Duration) -> u64 {
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn high(ticks: u64) -> u32 {
    u32::try_from(ticks >> 32).unwrap_or(u32::MAX)
}

fn low(ticks: u64) -> u32 {
    u32::try_from(ticks & 0xffff_ffff).unwrap_or(u32::MAX)
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &length].concat()
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_le_bytes());
    out.extend(value);
    pad(out);
}

fn end_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// Every part of a block begins at a multiple of four.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::super::exhibit::tests::sample;
    use super::*;
    use crate::kernel::replay::{Capture, Record};

    #[test]
    fn what_is_written_is_read() {
        for length in 20..24 {
            let mut packet = vec![0; length];
            packet[0] = 0x45;
            let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
            let exhibit = sample();
            let file = file(&packet, at, &[exhibit.words(), exhibit.comment()]);
            let mut capture = Capture::new(std::io::Cursor::new(file)).unwrap();
            let Ok(Some(Record::Packet(read))) = capture.next_record() else { panic!() };
            assert_eq!((read.number, UNIX_EPOCH + read.time, read.ip), (1, at, packet));
            assert_eq!(read.exhibit.as_deref(), Some(&exhibit));
            assert_eq!(capture.next_record(), Ok(None));
        }
    }
}
