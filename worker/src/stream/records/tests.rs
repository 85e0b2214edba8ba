use proptest::prelude::*;

use super::*;

const TNS: Mark = Mark::Length { width: 2, least: 8 };

fn feed(sync: &mut RecordSync, seq: u32, payload: &[u8], mark: Mark) -> Vec<Result<Vec<u8>, Malformed>> {
    let mut records = sync.open(seq, payload, false, mark, 32);
    let mut out = Vec::new();
    while let Some(found) = records.next_record() {
        out.push(found.map(|record| {
            for Piece { from, at, len, .. } in record.pieces {
                assert_eq!(record.message[from..from + len], payload[at..at + len]);
            }
            record.message
        }));
    }
    sync.close(seq, payload.len(), records.rest());
    out
}

fn fragment(last: bool, body: &[u8]) -> Vec<u8> {
    let mark = u32::try_from(body.len()).unwrap() | if last { LAST } else { 0 };
    [&mark.to_be_bytes(), body].concat()
}

fn ok(bodies: &[&[u8]]) -> Vec<Result<Vec<u8>, Malformed>> {
    bodies.iter().map(|body| Ok(body.to_vec())).collect()
}

#[test]
fn fragments_are_joined_and_know_their_places_and_marks() {
    let payload = [fragment(false, b"ab"), fragment(true, b"cd"), fragment(true, b"")].concat();
    let mut records = RecordSync::default().open(0, &payload, false, Mark::Fragments, 32);
    let mark = |at, value| Some(FragmentMark { at: Some(at), value });
    let pieces =
        vec![Piece { from: 0, at: 4, len: 2, mark: mark(0, 2) }, Piece { from: 2, at: 10, len: 2, mark: mark(6, LAST | 2) }];
    assert_eq!(records.next_record(), Some(Ok(Record { message: b"abcd".to_vec(), pieces })));
    assert_eq!(records.next_record(), Some(Ok(Record { message: Vec::new(), pieces: Vec::new() })));
    assert_eq!(records.next_record(), None);
    assert!(!records.rest().is_mid_record());
}

#[test]
fn a_length_counts_itself_and_one_that_is_too_small_ends_the_reading() {
    let mut sync = RecordSync::default();
    assert_eq!(feed(&mut sync, 0, b"\0\x09123456z\0\x08abcdef\0\x07", TNS), {
        let mut wanted = ok(&[b"\0\x09123456z", b"\0\x08abcdef"]);
        wanted.push(Err(Malformed("record length")));
        wanted
    });
    assert_eq!(feed(&mut sync, 19, b"\0\x08abcdef", TNS), []);
}

#[test]
fn a_record_in_three_segments_is_joined_also_where_its_mark_is_cut_and_numbers_wrap() {
    let mut sync = RecordSync::default();
    let payload = fragment(true, b"abcdef");
    let seq = u32::MAX - 2;
    assert_eq!(feed(&mut sync, seq, &payload[..3], Mark::Fragments), []);
    assert_eq!(feed(&mut sync, 0, &payload[3..6], Mark::Fragments), []);
    assert_eq!(feed(&mut sync, 3, &payload[6..], Mark::Fragments), ok(&[b"abcdef"]));
    assert_eq!(feed(&mut sync, 7, &fragment(true, b"x"), Mark::Fragments), ok(&[b"x"]));
    assert_eq!(feed(&mut sync, seq, &payload, Mark::Fragments), ok(&[b"abcdef"]), "repeated in one piece");
}

#[test]
fn of_a_record_that_is_too_long_the_head_is_told_once_and_the_rest_skipped() {
    let mut sync = RecordSync::default();
    let payload = fragment(true, &[b'x'; 100]);
    assert_eq!(feed(&mut sync, 0, &payload[..60], Mark::Fragments), ok(&[&[b'x'; 32]]));
    let rest = [&payload[60..], &fragment(true, b"y")].concat();
    assert_eq!(feed(&mut sync, 60, &rest, Mark::Fragments), ok(&[b"y"]));
}

#[test]
fn behind_a_gap_nothing_is_read_until_what_is_missing_comes() {
    let mut sync = RecordSync::default();
    let record = fragment(true, b"1");
    feed(&mut sync, 0, &record, Mark::Fragments);
    assert_eq!(feed(&mut sync, 10, &record, Mark::Fragments), []);
    assert_eq!(feed(&mut sync, 5, &record, Mark::Fragments), ok(&[b"1"]));
    assert_eq!(feed(&mut sync, 15, &record, Mark::Fragments), [], "what came early was not read, so its end is not known");
}

#[test]
fn a_fresh_worker_in_the_middle_of_a_record_reads_nothing() {
    let record = fragment(true, b"1");
    let mut records = RecordSync::default().open(9, &record, true, Mark::Fragments, 32);
    assert_eq!(records.next_record(), None);
    assert!(records.rest().is_mid_record());
}

#[test]
fn a_piece_whose_mark_came_earlier_says_so() {
    let mut sync = RecordSync::default();
    let payload = fragment(true, b"abcd");
    feed(&mut sync, 0, &payload[..4], Mark::Fragments);
    let mut records = sync.open(4, b"abcd", false, Mark::Fragments, 32);
    let piece = records.next_record().unwrap().unwrap().pieces[0];
    assert_eq!((piece.from, piece.at, piece.len, piece.mark.unwrap().at), (0, 0, 4, None));
}

proptest! {
    #[test]
    fn however_it_is_cut_and_repeated_a_stream_holds_the_same_records(
        bodies in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..30), 1usize..4), 1..8),
        cuts in proptest::collection::vec((1usize..40, any::<bool>()), 1..40),
        seq in any::<u32>(),
    ) {
        let mut stream = Vec::new();
        for (body, fragments) in &bodies {
            let size = body.len().div_ceil(*fragments).max(1);
            let parts: Vec<&[u8]> = if body.is_empty() { vec![&[]] } else { body.chunks(size).collect() };
            for (n, part) in parts.iter().enumerate() {
                stream.extend(fragment(n + 1 == parts.len(), part));
            }
        }
        let (mut sync, mut at, mut found, mut cuts) = (RecordSync::default(), 0, Vec::new(), cuts.into_iter().cycle());
        while at < stream.len() {
            let (len, twice) = cuts.next().unwrap();
            let end = (at + len).min(stream.len());
            found.extend(feed(&mut sync, end_of(seq, at), &stream[at..end], Mark::Fragments));
            if twice {
                let repeated = sync.order.is_repeated(end_of(seq, at), end_of(seq, end));
                prop_assert!(repeated);
                feed(&mut sync, end_of(seq, at), &stream[at..end], Mark::Fragments);
            }
            at = end;
        }
        let wanted: Vec<_> = bodies.into_iter().map(|(body, _)| Ok(body)).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn a_strangers_segments_stay_within_bounds(
        segments in proptest::collection::vec((0u32..300, proptest::collection::vec(prop_oneof![Just(0u8), Just(0x80), any::<u8>()], 0..120)), 1..40),
        tns in any::<bool>(),
    ) {
        let (mut sync, mark) = (RecordSync::default(), if tns { TNS } else { Mark::Fragments });
        for (seq, payload) in segments {
            for record in feed(&mut sync, seq, &payload, mark).into_iter().flatten() {
                prop_assert!(record.len() <= 32);
            }
            prop_assert!(sync.tail.as_ref().is_none_or(|(_, tail)| tail.body.len() <= 32 && tail.mark.len() < 4));
        }
    }
}
