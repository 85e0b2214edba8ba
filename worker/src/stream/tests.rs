use proptest::prelude::*;

use super::order::{HEADS, OTHERS};
use super::*;

/// Feeds one segment; its lines as (text, before, at).
fn feed(sync: &mut LineSync, seq: u32, payload: &str) -> Vec<(String, usize, usize)> {
    feed_with(sync, seq, payload, false)
}

fn feed_with(sync: &mut LineSync, seq: u32, payload: &str, mid: bool) -> Vec<(String, usize, usize)> {
    let mut lines = sync.open(seq, payload.as_bytes(), mid, 32);
    let from_start = lines.read_from_start();
    let mut out = Vec::new();
    while let Some(found) = lines.next_line() {
        out.push(match found {
            Found::Line(line) => (String::from_utf8(line.text.to_vec()).unwrap(), line.before, line.at),
            Found::TooLong(head) if payload.contains("xxx") => {
                assert_eq!(head, b"x".repeat(32));
                ("TOO LONG".to_owned(), 0, 0)
            }
            Found::TooLong(_) => ("TOO LONG".to_owned(), 0, 0),
        });
    }
    let rest = lines.rest();
    if let Some(head) = &rest.too_long {
        assert_eq!(head.len(), 32);
        out.push(("TOO LONG".to_owned(), 0, 0));
    }
    sync.close(seq, payload.len(), from_start, rest);
    out
}

fn line(text: &str, before: usize, at: usize) -> (String, usize, usize) {
    (text.to_owned(), before, at)
}

#[test]
fn lines_end_with_cr_lf_or_lf_and_know_their_place() {
    let mut sync = LineSync::default();
    assert_eq!(feed(&mut sync, 0, "ab\r\n\ncd\ne"), [line("ab", 0, 0), line("", 0, 4), line("cd", 0, 5)]);
}

#[test]
fn a_line_over_three_segments_is_joined_also_where_sequence_numbers_wrap() {
    let mut sync = LineSync::default();
    assert_eq!(feed(&mut sync, u32::MAX - 3, "x\nab"), [line("x", 0, 0)]);
    assert_eq!(feed(&mut sync, 0, "cd"), []);
    assert_eq!(feed(&mut sync, 2, "ef\r\ngh\r\n"), [line("abcdef", 4, 0), line("gh", 0, 4)]);
}

#[test]
fn a_cr_and_its_lf_in_two_segments_end_one_line() {
    let mut sync = LineSync::default();
    assert_eq!(feed(&mut sync, 0, "ab\r"), []);
    assert_eq!(feed(&mut sync, 3, "\ncd\n"), [line("ab", 3, 0), line("cd", 0, 1)]);
}

#[test]
fn what_follows_a_gap_is_read_from_the_next_line_on() {
    let mut sync = LineSync::default();
    feed(&mut sync, 0, "ab\n");
    assert_eq!(feed(&mut sync, 10, "cd\nef\n"), [line("ef", 0, 3)]);
    assert_eq!(feed(&mut sync, 3, "filled!"), []);
    assert_eq!(feed(&mut sync, 16, "gh\n"), [line("gh", 0, 0)]);
}

#[test]
fn what_fills_a_gap_is_late_and_not_repeated() {
    let mut sync = LineSync::default();
    feed(&mut sync, u32::MAX - 1, "ab");
    feed(&mut sync, 6, "ef\n");
    assert!(!sync.order.is_repeated(0, 3));
    feed(&mut sync, 0, "cd\n");
    assert!(sync.order.is_repeated(0, 3) && !sync.order.is_repeated(3, 6) && sync.order.is_repeated(6, 9));
}

#[test]
fn a_gap_without_a_line_end_is_skipped_up_to_one() {
    let mut sync = LineSync::default();
    feed(&mut sync, 0, "ab\n");
    assert_eq!(feed(&mut sync, 10, "cd"), []);
    assert_eq!(feed(&mut sync, 12, "ef"), []);
    assert_eq!(feed(&mut sync, 14, "gh\nij\n"), [line("ij", 0, 3)]);
}

#[test]
fn the_private_state_counts_only_when_nothing_else_is_known() {
    let mut sync = LineSync::default();
    assert_eq!(feed_with(&mut sync, 0, "ab\ncd\n", true), [line("cd", 0, 3)]);
    assert_eq!(feed_with(&mut sync, 6, "ef\n", true), [line("ef", 0, 0)]);
}

#[test]
fn a_retransmission_is_read_again_and_changes_nothing() {
    let mut sync = LineSync::default();
    feed(&mut sync, 0, "ab\n");
    feed(&mut sync, 3, "cd\n");
    feed(&mut sync, 6, "ef");
    assert_eq!(feed(&mut sync, 3, "cd\n"), [line("cd", 0, 0)]);
    assert_eq!(feed(&mut sync, 0, "ab\ncd\n"), [line("ab", 0, 0), line("cd", 0, 3)]);
    assert_eq!(feed(&mut sync, 8, "gh\n"), [line("efgh", 2, 0)]);
}

#[test]
fn a_retransmission_that_overlaps_the_unfinished_line_is_joined_at_its_place() {
    let mut sync = LineSync::default();
    feed(&mut sync, 0, "ab\ncdef");
    assert_eq!(feed(&mut sync, 5, "efgh\n"), [line("cdefgh", 2, 0)]);
    feed(&mut sync, 10, "ij");
    assert_eq!(feed(&mut sync, 10, "ijkl\n"), [line("ijkl", 0, 0)]);
}

#[test]
fn a_line_over_the_limit_is_reported_once_and_skipped() {
    let mut sync = LineSync::default();
    assert_eq!(feed(&mut sync, 0, &"x".repeat(40)), [line("TOO LONG", 0, 0)]);
    assert_eq!(feed(&mut sync, 40, &"x".repeat(4000)), []);
    assert_eq!(feed(&mut sync, 4040, "x\nab\n"), [line("ab", 0, 2)]);
    assert_eq!(feed(&mut sync, 4045, &format!("{}\nab\n", "x".repeat(33))), [line("TOO LONG", 0, 0), line("ab", 0, 34)]);
    assert_eq!(feed(&mut sync, 4082, &format!("{}\r\n", "x".repeat(32))), [line(&"x".repeat(32), 0, 0)]);
}

#[test]
fn an_unfinished_line_stays_bounded() {
    let mut sync = LineSync::default();
    for round in 0..100_000 {
        feed(&mut sync, round * 3, "abc");
        assert!(sync.tail.as_ref().unwrap().bytes.capacity() <= 33);
    }
}

#[test]
fn a_withheld_segment_leaves_no_trace_and_holds_up_what_is_behind_it() {
    let mut sync = LineSync::default();
    feed(&mut sync, u32::MAX, "\n");
    sync.order.withhold(0);
    assert!(sync.order.is_behind_withheld(2) && !sync.order.is_behind_withheld(0) && !sync.order.is_behind_withheld(u32::MAX));
    assert!(!sync.order.is_repeated(0, 2) && sync.order.may_withhold(0, 2) && sync.order.may_withhold(2, 5));
    feed(&mut sync, u32::MAX, "\n");
    assert!(sync.order.is_behind_withheld(2));
    assert_eq!(feed(&mut sync, 0, "abcd\n"), [line("abcd", 0, 0)]);
    assert!(!sync.order.is_behind_withheld(5) && !sync.order.may_withhold(0, 2));
}

#[test]
fn what_stands_behind_a_withheld_segment_is_never_a_fresh_line() {
    let mut sync = LineSync::default();
    sync.order.withhold(0);
    assert_eq!(feed(&mut sync, 2, "cd\nef\n"), [line("ef", 0, 3)]);
}

#[test]
fn segments_are_withheld_a_few_times_only() {
    let mut sync = LineSync::default();
    for _ in 0..HEADS {
        assert!(sync.order.may_withhold(0, 2));
        sync.order.withhold(0);
    }
    for _ in 0..OTHERS {
        assert!(!sync.order.may_withhold(0, 2) && sync.order.may_withhold(2, 4));
        sync.order.withhold(2);
    }
    assert!(!sync.order.may_withhold(2, 4));
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_lines(
        text in "[ab\r\n]{0,200}",
        start in any::<u32>(),
        cuts in proptest::collection::vec(1usize..20, 1..30),
    ) {
        let mut wanted: Vec<_> = feed(&mut LineSync::default(), start, &text).into_iter().map(|(text, ..)| text).collect();
        let mut sync = LineSync::default();
        let mut got = Vec::new();
        let (mut at, mut cuts) = (0, cuts.into_iter().cycle());
        while at < text.len() {
            let end = text.len().min(at + cuts.next().unwrap());
            got.extend(feed(&mut sync, end_of(start, at), &text[at..end]).into_iter().map(|(text, ..)| text));
            at = end;
        }
        // A line that turns out too long is reported when its limit is passed, which may be before its end.
        wanted.dedup();
        got.dedup();
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn segments_in_any_order_never_panic_and_stay_bounded(
        segments in proptest::collection::vec((0u32..400, "[abc\r\n]{0,60}"), 0..60),
    ) {
        let mut sync = LineSync::default();
        for (seq, payload) in segments {
            for (_, before, at) in feed(&mut sync, seq.wrapping_sub(200), &payload) {
                prop_assert!(before <= 33 && at <= payload.len());
            }
            prop_assert!(sync.tail.as_ref().is_none_or(|tail| tail.bytes.len() <= 33));
        }
    }
}
