use cthelper_proto::types::Family;

use super::*;

fn side(sport: u16, dport: u16) -> Master {
    Master { src: [10, 0, 1, 2].into(), sport, dst: [10, 0, 2, 2].into(), dport }
}

fn control() -> FlowRecord {
    FlowRecord {
        helper: Some("ftp".to_owned()),
        id: Some(7),
        family: Family::Inet,
        proto: 6,
        state: Some("ESTABLISHED".to_owned()),
        age_ms: 61_000,
        since_birth: true,
        orig: side(40_000, 21),
        reply: Some(Master { src: [10, 0, 2, 2].into(), sport: 21, dst: [10, 0, 2, 254].into(), dport: 40_000 }),
        snat: true,
        dnat: false,
        assured: true,
        zone: 0,
        announcements: 3,
        granted: 2,
        refused: 1,
        used: 1,
        expecting: 1,
        master: None,
    }
}

fn data() -> FlowRecord {
    FlowRecord {
        helper: None,
        id: Some(8),
        orig: side(50_000, 3000),
        since_birth: false,
        snat: false,
        reply: None,
        master: Some(side(40_000, 21)),
        ..control()
    }
}

#[test]
fn the_table_has_the_helped_ones_and_the_tree_what_they_announced() {
    let table = shown(&[data(), control()], Options::default()).unwrap();
    assert_eq!(
        table,
        "\
HELPER  PROTO  STATE        AGE  NAT  ANNOUNCED  EXPECTED  REFUSED  CONNECTION
ftp     tcp    ESTABLISHED  61s  src  3          1+1       1        10.0.1.2:40000 -> 10.0.2.2:21 seen as 10.0.2.254:40000 -> 10.0.2.2:21
"
    );
    let tree = shown(&[data(), control()], Options { tree: true, ..Options::default() }).unwrap();
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[1].starts_with("ftp "), "{tree}");
    assert!(
        lines[2].starts_with("-       tcp    ESTABLISHED  >61s") && lines[2].ends_with("└ 10.0.1.2:50000 -> 10.0.2.2:3000"),
        "{tree}"
    );
}

#[test]
fn an_orphan_stands_by_itself_and_a_ring_does_not_hang() {
    let orphan = FlowRecord { master: Some(side(1, 1)), ..data() };
    assert_eq!(tree(&[orphan, control()]).iter().map(|(_, depth)| *depth).collect::<Vec<_>>(), [0, 0]);
    let ring = FlowRecord { master: Some(side(50_000, 3000)), ..data() };
    assert!(tree(&[ring]).is_empty());
}

#[test]
fn names_are_escaped_and_json_is_a_record_a_line() {
    let odd = FlowRecord { helper: Some("x\x1b[1m".to_owned()), ..control() };
    assert!(shown(&[odd], Options::default()).unwrap().contains("x\\u{1b}[1m"));
    let json = shown(&[control(), data()], Options { json: true, ..Options::default() }).unwrap();
    let records: Vec<FlowRecord> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records, [control(), data()]);
    assert_eq!(shown(&[], Options::default()).unwrap(), "no connection has a helper\n");
}

/// The broker breaks a list off before a line's end only.
#[test]
fn a_list_that_is_cut_off_is_not_shown_as_if_it_were_whole() {
    let line = |record| serde_json::to_string(&record).unwrap();
    let whole = format!("{}\n{}\n", line(control()), line(data()));
    assert_eq!(records(whole.as_bytes()).unwrap(), [control(), data()]);
    assert_eq!(records(&b""[..]).unwrap(), []);
    assert_eq!(records(whole.trim_end().as_bytes()).unwrap_err().exit, Exit::Unavailable);
}
