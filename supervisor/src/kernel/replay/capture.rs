//! Reads pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) files as a stream of IP packets.
//!
//! The file formats are read by `pcap-parser`; what lies in a frame is read by [`super::link`].

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::time::Duration;

use pcap_parser::pcapng::{Block, EnhancedPacketBlock, InterfaceDescriptionBlock, OptionCode, SimplePacketBlock};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{LegacyPcapBlock, LegacyPcapReader, PcapBlockOwned, PcapError, PcapHeader, PcapNGReader};

use super::link::{Skip, network};
use crate::evidence::exhibit::Exhibit;

/// Buffer to begin with, bytes. A section header must fit into it: twice the longest comment that one may hold.
const FIRST_CAPACITY: usize = 128 * 1024;
/// Largest record that is read, bytes. Packets are far smaller; pcapng also carries name and key tables.
const MAX_CAPACITY: usize = 16 * 1024 * 1024;
/// Bytes of the shortest pcapng block: its type, and its length twice.
const SHORTEST_BLOCK: u32 = 12;
/// The type of the block that begins a section, which says the byte order of lengths; a palindrome.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Most interfaces of one pcapng section.
const MAX_INTERFACES: usize = 65_536;

/// A capture file that is being read.
pub struct Capture {
    blocks: Box<dyn PcapReaderIterator + Send>,
    is_pcapng: bool,
    capacity: usize,
    contents: Contents,
    ended: bool,
    record_at: u64,
}

/// One packet record of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// It holds an IP packet.
    Packet(CapturedPacket),
    /// It holds none that we could use.
    Skipped {
        /// Number of the record, from 1.
        number: u64,
        /// Why.
        why: Skip,
    },
}

/// An IP packet from a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedPacket {
    /// Number of its record, from 1, as Wireshark counts.
    pub number: u64,
    /// When it was captured: time since 1970.
    pub time: Duration,
    /// From the IP header on; link padding may follow.
    pub ip: Vec<u8>,
    /// What it was kept with, if it was in a worker's hands when that ended.
    pub exhibit: Option<Box<Exhibit>>,
}

/// The file cannot be read any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureError {
    /// Where the record begins that could not be read, bytes from the start of the file.
    pub offset: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.reason)
    }
}

impl std::error::Error for CaptureError {}

impl Capture {
    /// Opens a file.
    ///
    /// # Errors
    /// At offset 0: it cannot be opened, is neither pcap nor pcapng, or ends inside its header.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Self::new(File::open(path).map_err(|error| at_start(error.to_string()))?)
    }

    /// Reads from anything; see [`Self::open`].
    pub fn new(mut source: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let mut head = Vec::new();
        let limit = u64::try_from(FIRST_CAPACITY).unwrap_or(u64::MAX);
        source.by_ref().take(limit).read_to_end(&mut head).map_err(|error| at_start(error.to_string()))?;
        let is_pcapng = match head.first_chunk() {
            Some(&SECTION) => true,
            // Micro- and nanoseconds in both byte orders, and a format Linux distributions of the 1990s had.
            Some(
                [0xd4, 0xc3, 0xb2, 0xa1]
                | [0x4d, 0x3c, 0xb2, 0xa1]
                | [0xa1, 0xb2, 0xc3, 0xd4]
                | [0xa1, 0xb2, 0x3c, 0x4d]
                | [0x34, 0xcd, 0xb2, 0xa1],
            ) => false,
            _ => return Err(at_start("neither pcap nor pcapng")),
        };
        // The first read must give all that is there: the reader looks at its header only once.
        let source = Cursor::new(head).chain(source);
        let blocks: Result<Box<dyn PcapReaderIterator + Send>, _> = if is_pcapng {
            PcapNGReader::new(FIRST_CAPACITY, source).map(|reader| Box::new(reader) as _)
        } else {
            LegacyPcapReader::new(FIRST_CAPACITY, source).map(|reader| Box::new(reader) as _)
        };
        let blocks = blocks.map_err(|error| at_start(header_trouble(&error)))?;
        Ok(Self { blocks, is_pcapng, capacity: FIRST_CAPACITY, contents: Contents::default(), ended: false, record_at: 0 })
    }

    /// The next packet record; `None` at the end of the file, and ever after an error.
    pub fn next_record(&mut self) -> Result<Option<Record>, CaptureError> {
        while !self.ended {
            match self.step() {
                Ok(Step::Record(record)) => return Ok(Some(record)),
                Ok(Step::Between) => {}
                Ok(Step::End) => self.ended = true,
                Err(reason) => {
                    self.ended = true;
                    return Err(CaptureError { offset: self.offset(), reason });
                }
            }
        }
        Ok(None)
    }

    /// Where the record that was given last begins, bytes.
    pub fn record_at(&self) -> u64 {
        self.record_at
    }

    /// Where the next record begins, bytes.
    fn offset(&self) -> u64 {
        u64::try_from(self.blocks.consumed()).unwrap_or(u64::MAX)
    }

    /// Reads one block, or more of the file.
    fn step(&mut self) -> Result<Step, String> {
        if self.is_too_short() {
            return Err("damaged record".into());
        }
        let wants_room = match self.blocks.next() {
            Ok((used, block)) => {
                let record = self.contents.read(&block)?;
                self.record_at = u64::try_from(self.blocks.consumed()).unwrap_or(u64::MAX);
                self.blocks.consume(used);
                return Ok(record.map_or(Step::Between, Step::Record));
            }
            Err(PcapError::Eof) => return Ok(Step::End),
            Err(PcapError::Incomplete(_)) => false,
            Err(PcapError::BufferTooSmall) => true,
            Err(PcapError::UnexpectedEof) => return Err("the file ends inside this record".into()),
            Err(PcapError::ReadError) => return Err("the file cannot be read".into()),
            Err(_) => return Err("damaged record".into()),
        };
        self.refill(wants_room)?;
        Ok(Step::Between)
    }

    /// Whether the next block says that it is shorter than any can be. The parser subtracts what every block has without a look.
    fn is_too_short(&self) -> bool {
        let Some((kind, rest)) = self.blocks.data().split_first_chunk() else { return false };
        let Some(length) = rest.first_chunk().filter(|_| self.is_pcapng && *kind != SECTION) else { return false };
        let length = if self.contents.big_endian { u32::from_be_bytes(*length) } else { u32::from_le_bytes(*length) };
        length < SHORTEST_BLOCK
    }

    /// Reads more of the file into the buffer, which grows when it must.
    fn refill(&mut self, wants_room: bool) -> Result<(), String> {
        let before = self.blocks.data().len();
        if wants_room || before >= self.capacity {
            if self.capacity >= MAX_CAPACITY {
                return Err(format!("damaged record, or one of more than {MAX_CAPACITY} bytes"));
            }
            self.capacity *= 2;
            self.blocks.grow(self.capacity);
        }
        self.blocks.refill().map_err(|_| "the file cannot be read".to_owned())
    }
}

fn at_start(reason: impl Into<String>) -> CaptureError {
    CaptureError { offset: 0, reason: reason.into() }
}

fn header_trouble(error: &PcapError<&[u8]>) -> &'static str {
    match error {
        PcapError::Incomplete(_) | PcapError::Eof | PcapError::UnexpectedEof => "the file ends inside its header",
        PcapError::HeaderNotRecognized => "neither pcap nor pcapng",
        _ => "damaged header",
    }
}

/// What one step has found.
enum Step {
    Record(Record),
    /// A block without a packet, or more bytes.
    Between,
    End,
}

/// What has been learnt from the blocks so far.
#[derive(Debug, Default)]
struct Contents {
    interfaces: Vec<Interface>,
    big_endian: bool,
    number: u64,
    time: Duration,
}

/// Where packets were captured.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: u16,
    /// 0 = unlimited.
    snap_len: u32,
    /// Ticks of its clock in a second.
    per_second: u64,
    /// Seconds to be added.
    offset: i64,
}

impl Contents {
    fn read(&mut self, block: &PcapBlockOwned<'_>) -> Result<Option<Record>, String> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.interfaces = vec![Interface::of_file(header)],
            PcapBlockOwned::Legacy(record) => return Ok(Some(self.legacy(record))),
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                self.interfaces.clear();
                self.big_endian = header.big_endian();
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(_)) if self.interfaces.len() >= MAX_INTERFACES => {
                return Err(format!("more than {MAX_INTERFACES} interfaces"));
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(described)) => {
                self.interfaces.push(Interface::of_block(described, self.big_endian));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(record)) => return self.enhanced(record).map(Some),
            PcapBlockOwned::NG(Block::SimplePacket(record)) => return Ok(Some(self.simple(record))),
            PcapBlockOwned::NG(_) => {}
        }
        Ok(None)
    }

    fn legacy(&mut self, record: &LegacyPcapBlock<'_>) -> Record {
        if let Some(interface) = self.interfaces.first() {
            let fraction = interface.time(u64::from(record.ts_usec));
            self.time = Duration::from_secs(u64::from(record.ts_sec)).saturating_add(fraction);
        }
        self.record(0, record.data, record.origlen)
    }

    fn enhanced(&mut self, record: &EnhancedPacketBlock<'_>) -> Result<Record, String> {
        let interface = usize::try_from(record.if_id).ok().and_then(|id| self.interfaces.get(id));
        if let Some(interface) = interface {
            self.time = interface.time(u64::from(record.ts_high) << 32 | u64::from(record.ts_low));
        }
        let mut read = self.record(record.if_id, record.packet_data(), record.origlen);
        if let Record::Packet(packet) = &mut read {
            packet.exhibit = exhibit(record)?;
        }
        Ok(read)
    }

    /// A simple packet has no time, so it gets that of its predecessor, and no captured length but its interface's.
    fn simple(&mut self, record: &SimplePacketBlock<'_>) -> Record {
        let data = record.packet_data();
        let limit = self.interfaces.first().map_or(0, |interface| interface.snap_len);
        let kept = usize::try_from(limit).ok().filter(|limit| *limit > 0).and_then(|limit| data.get(..limit));
        self.record(0, kept.unwrap_or(data), record.origlen)
    }

    /// A packet `frame` of the interface `id`, which had `original` bytes.
    fn record(&mut self, id: u32, frame: &[u8], original: u32) -> Record {
        self.number += 1;
        let number = self.number;
        match self.packet(id, frame, original) {
            Ok(ip) => Record::Packet(CapturedPacket { number, time: self.time, ip: ip.to_vec(), exhibit: None }),
            Err(why) => Record::Skipped { number, why },
        }
    }

    fn packet<'a>(&self, id: u32, frame: &'a [u8], original: u32) -> Result<&'a [u8], Skip> {
        let interface = usize::try_from(id).ok().and_then(|id| self.interfaces.get(id)).ok_or(Skip::NoInterface(id))?;
        let captured = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        if captured < original {
            return Err(Skip::CutShort { captured, original });
        }
        network(interface.link, frame)
    }
}

/// What a packet was kept with, by its comments.
fn exhibit(record: &EnhancedPacketBlock<'_>) -> Result<Option<Box<Exhibit>>, String> {
    let comments = record.options.iter().filter(|option| option.code == OptionCode::Comment);
    let mut ours = comments.filter_map(|option| Exhibit::read(option.as_bytes().unwrap_or_default()));
    ours.next().transpose().map(|exhibit| exhibit.map(Box::new))
}

impl Interface {
    /// All packets of a pcap file have one.
    fn of_file(header: &PcapHeader) -> Self {
        let per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
        // The upper half of the number tells of frame check sequences.
        let link = u16::try_from(header.network.0 & 0xffff).unwrap_or_default();
        Self { link, snap_len: header.snaplen, per_second, offset: 0 }
    }

    fn of_block(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Self {
        // The parser reads this option as little-endian in every section.
        let offset = if big_endian { block.if_tsoffset.swap_bytes() } else { block.if_tsoffset };
        let link = u16::try_from(block.linktype.0).unwrap_or(u16::MAX);
        Self { link, snap_len: block.snaplen, per_second: per_second(block.if_tsresol), offset }
    }

    /// The time that `ticks` of this interface's clock stand for.
    fn time(&self, ticks: u64) -> Duration {
        let seconds = (ticks / self.per_second).saturating_add_signed(self.offset);
        let nanos = u128::from(ticks % self.per_second) * 1_000_000_000 / u128::from(self.per_second);
        Duration::new(seconds, u32::try_from(nanos).unwrap_or_default())
    }
}

/// Ticks in a second by `if_tsresol`: a negative power of 2 when the high bit is set, else of 10; microseconds if it makes no sense.
fn per_second(resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(1_000_000)
}

#[cfg(test)]
mod tests;
