//! Files built byte by byte, whole, cut and damaged.

use super::super::sample::{self, ACK, SYN};
use super::*;
use proptest::prelude::*;

/// Everything a file gives, and how it ends.
fn read(file: &[u8]) -> (Vec<Record>, Option<CaptureError>) {
    let mut records = Vec::new();
    let mut capture = match Capture::new(Cursor::new(file.to_vec())) {
        Ok(capture) => capture,
        Err(error) => return (records, Some(error)),
    };
    loop {
        match capture.next_record() {
            Ok(Some(record)) => records.push(record),
            Ok(None) => return (records, None),
            Err(error) => {
                assert_eq!(capture.next_record(), Ok(None), "an error is the end");
                return (records, Some(error));
            }
        }
    }
}

fn packets(file: &[u8]) -> Vec<CapturedPacket> {
    let (records, error) = read(file);
    assert_eq!(error, None);
    let packet = |record| match record {
        Record::Packet(packet) => packet,
        Record::Skipped { number, why } => panic!("{number}: {why}"),
    };
    records.into_iter().map(packet).collect()
}

fn two() -> [Vec<u8>; 2] {
    [sample::tcp4(40_000, 21, SYN, b""), sample::tcp6(40_000, 21, ACK, b"QUIT\r\n")]
}

fn at(seconds: u64, nanos: u32) -> Duration {
    Duration::new(seconds, nanos)
}

#[test]
fn a_pcap_file_of_each_link_type() {
    let types = |packet: &[u8]| if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    for link in [0, 1, 12, 14, 101, 108, 113, 276] {
        let frames = two().map(|packet| {
            let header = match link {
                0 => vec![if packet[0] >> 4 == 4 { 2 } else { 10 }, 0, 0, 0],
                108 => vec![0, 0, 0, if packet[0] >> 4 == 4 { 2 } else { 24 }],
                1 => [&[2; 12][..], &[0x81, 0, 0, 9], &types(&packet)].concat(),
                113 => [&[0; 14][..], &types(&packet)].concat(),
                276 => [&types(&packet)[..], &[0; 18]].concat(),
                _ => vec![],
            };
            [header, packet].concat()
        });
        let found = packets(&sample::pcap(link, &frames));
        assert_eq!(found.iter().map(|packet| packet.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(found.into_iter().map(|packet| packet.ip).collect::<Vec<_>>(), two(), "link type {link}");
    }
}

#[test]
fn pcap_times_in_both_units_and_byte_orders() {
    let micro = sample::pcap(101, &two());
    assert_eq!(packets(&micro)[1].time, at(1_700_000_001, 250_000_000));
    let mut nano = micro.clone();
    nano[..4].copy_from_slice(&0xa1b2_3c4d_u32.to_le_bytes());
    assert_eq!(packets(&nano)[1].time, at(1_700_000_001, 250_000));
    let big = sample::pcap_big_endian(101, &two());
    assert_eq!(packets(&big), packets(&micro));
}

#[test]
fn bits_above_the_link_type_are_ignored() {
    assert_eq!(packets(&sample::pcap(0x2400_0065, &two())).len(), 2);
}

#[test]
fn a_pcapng_file_in_both_byte_orders() {
    for big_endian in [false, true] {
        let mut file = sample::Ng::new(big_endian);
        file.section().interface(101, 0, &[]).enhanced(0, 1_700_000_000_250_000, &two()[0]);
        // Milliseconds, and an offset of 1000 seconds.
        file.interface(1, 0, &[(9, &[3]), (14, &file.number64(1000))]).other();
        file.enhanced(1, 1_699_999_001_250, &[&[2; 12][..], &[0x86, 0xdd], &two()[1]].concat());
        let found = packets(&file.bytes);
        assert_eq!((found[0].time, found[1].time), (at(1_700_000_000, 250_000_000), at(1_700_000_001, 250_000_000)));
        assert_eq!(found.into_iter().map(|packet| packet.ip).collect::<Vec<_>>(), two());
    }
}

#[test]
fn a_new_section_forgets_the_interfaces_and_counts_on() {
    let mut file = sample::Ng::new(false);
    file.section().interface(1, 0, &[]).interface(101, 0, &[]).enhanced(1, 0, &two()[0]);
    file.big_endian = true;
    file.section().interface(101, 0, &[]).enhanced(0, 0, &two()[0]).enhanced(1, 0, &two()[0]);
    let (records, error) = read(&file.bytes);
    assert_eq!(error, None);
    assert!(matches!(&records[..2], [Record::Packet(_), Record::Packet(_)]));
    assert_eq!(records[2], Record::Skipped { number: 3, why: Skip::NoInterface(1) });
}

#[test]
fn simple_packets_have_their_interfaces_limit() {
    let packet = &two()[0];
    let mut file = sample::Ng::new(false);
    file.section().interface(101, 0, &[]).simple(packet, packet.len());
    file.section().interface(101, 40, &[]).simple(packet, packet.len()).simple(packet, packet.len() + 3);
    let (records, error) = read(&file.bytes);
    assert_eq!(error, None);
    assert!(matches!(&records[..2], [Record::Packet(one), Record::Packet(two)] if one.ip == *packet && two.ip == *packet));
    assert_eq!(records[2], Record::Skipped { number: 3, why: Skip::CutShort { captured: 40, original: 43 } });
}

#[test]
fn a_record_cut_short_is_reported() {
    let mut file = sample::pcap(101, &two());
    file[24 + 12] += 9;
    let (records, error) = read(&file);
    assert_eq!(error, None);
    assert_eq!(records[0], Record::Skipped { number: 1, why: Skip::CutShort { captured: 40, original: 49 } });
    assert!(matches!(&records[1], Record::Packet(packet) if packet.number == 2));
}

#[test]
fn clock_resolutions() {
    assert_eq!(per_second(6), 1_000_000);
    assert_eq!(per_second(9), 1_000_000_000);
    assert_eq!((per_second(19), per_second(20)), (10_000_000_000_000_000_000, 1_000_000));
    assert_eq!((per_second(0x8a), per_second(0xbf), per_second(0xc0)), (1024, 1 << 63, 1_000_000));
    let fast = Interface { link: 0, snap_len: 0, per_second: per_second(19), offset: -1 };
    assert_eq!(fast.time(u64::MAX), at(0, 844_674_407));
    assert_eq!(Interface { offset: i64::MAX, per_second: 1, ..fast }.time(u64::MAX).as_secs(), u64::MAX);
}

/// Cuts `file` at every byte: the error names the beginning of the record that is cut, and what is before it is given.
fn cut_everywhere(file: &[u8], header: usize, records: &[(usize, bool)]) {
    let ends = |cut| records.iter().take_while(|(end, _)| *end <= cut).collect::<Vec<_>>();
    for cut in 0..=file.len() {
        let (found, error) = read(&file[..cut]);
        let whole = ends(cut);
        let start = whole.last().map_or(if cut < header { 0 } else { header }, |(end, _)| *end);
        assert_eq!(found.len(), whole.iter().filter(|(_, packet)| *packet).count(), "cut at {cut}");
        let expected = (cut == 0 || cut > start || cut < header).then(|| u64::try_from(start).unwrap());
        assert_eq!(error.map(|error| error.offset), expected, "cut at {cut}");
    }
}

#[test]
fn a_pcap_file_cut_anywhere() {
    let first = 24 + 16 + two()[0].len();
    let file = sample::pcap(101, &two());
    cut_everywhere(&file, 24, &[(first, true), (file.len(), true)]);
}

#[test]
fn a_pcapng_file_cut_anywhere() {
    let mut file = sample::Ng::new(false);
    let mut ends = Vec::new();
    file.section();
    let header = file.bytes.len();
    file.interface(101, 0, &[(9, &[9])]);
    ends.push((file.bytes.len(), false));
    file.enhanced(0, 1, &two()[0]);
    ends.push((file.bytes.len(), true));
    file.other();
    ends.push((file.bytes.len(), false));
    file.enhanced(0, 1, &two()[1]);
    ends.push((file.bytes.len(), true));
    cut_everywhere(&file.bytes, header, &ends);
}

#[test]
fn foreign_files_are_refused_at_their_start() {
    for foreign in [&b""[..], b"\x7fELF", b"\x0a\x0d\x0d", b"#!/bin/sh\nexit 0\n", &[0; 100]] {
        let error = read(foreign).1.unwrap();
        assert_eq!(error.to_string(), "at byte 0: neither pcap nor pcapng");
    }
    let missing = Capture::open(Path::new("/nonexistent/file.pcap")).err().unwrap();
    assert_eq!(missing.offset, 0);
}

#[test]
fn a_damaged_block_is_named_by_its_offset() {
    let mut file = sample::Ng::new(false);
    file.section().interface(101, 0, &[]).enhanced(0, 0, &two()[0]);
    let offset = file.bytes.len();
    file.enhanced(0, 0, &two()[1]).enhanced(0, 0, &two()[1]);
    for (at, value) in [(4, 7), (20, 0xff)] {
        let mut damaged = file.bytes.clone();
        damaged[offset + at] = value;
        let (records, error) = read(&damaged);
        assert_eq!((records.len(), error.unwrap().offset), (1, u64::try_from(offset).unwrap()));
    }
}

/// A process information block, which the parser itself takes for one from 4 bytes on.
#[test]
fn a_block_shorter_than_any_is_damaged_in_both_byte_orders() {
    for (is_big, length) in [false, true].into_iter().flat_map(|is_big| (0..12_u32).map(move |length| (is_big, length))) {
        let word = |word: u32| if is_big { word.to_be_bytes() } else { word.to_le_bytes() };
        let mut file = sample::Ng::new(is_big);
        file.section();
        let offset = u64::try_from(file.bytes.len()).unwrap();
        file.bytes.extend([word(0x8000_0001), word(length), [0; 4], [0; 4]].concat());
        let damaged = CaptureError { offset, reason: "damaged record".to_owned() };
        assert_eq!(read(&file.bytes), (Vec::new(), Some(damaged)), "{length}");
    }
}

#[test]
fn a_record_larger_than_the_buffer_is_read_and_one_without_end_is_not() {
    let mut large = two()[0].clone();
    large.resize(FIRST_CAPACITY * 3, 0);
    let mut frames = vec![two()[0].clone(), large.clone(), two()[1].clone()];
    let found = packets(&sample::pcap(101, &frames));
    assert_eq!((found[1].ip.len(), &found[2].ip), (large.len(), &two()[1]));
    frames[1].resize(MAX_CAPACITY + 1, 0);
    let (records, error) = read(&sample::pcap(101, &frames));
    assert_eq!((records.len(), error.unwrap().offset), (1, 24 + 16 + 40));
}

proptest! {
    #[test]
    fn damage_never_panics(at in 0usize..400, value in any::<u8>(), big_endian in any::<bool>()) {
        let mut file = sample::Ng::new(big_endian);
        file.section().interface(1, 99, &[(9, &[6]), (14, &[0; 8])]).simple(&two()[0], 40);
        file.enhanced(0, u64::MAX, &two()[0]).other().enhanced(0, 0, &two()[1]);
        for mut file in [file.bytes, sample::pcap(1, &two()), sample::pcap_big_endian(113, &two())] {
            let at = at % file.len();
            file[at] = value;
            read(&file);
        }
    }
}
