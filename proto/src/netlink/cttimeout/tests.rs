use super::*;
use crate::netlink::golden::{built, hex};

/// What nfct 1.4.7 sends for `add timeout foo inet tcp established 16 syn_sent 5`, with our number: it sorts the states.
const ADD: &str = "
    40000000 0008 0504 01000000 00000000 00000000
    08000100 666f6f00 06000200 00020000 05000300 06000000
    14000480 08000100 00000005 08000300 00000010";

/// How Linux 6.18 shows it in answer to [`get`].
const ENTRY: &str = "
    90000000 0008 0200 01000000 01000000 00000000
    08000100 666f6f00 06000200 00020000 05000300 06000000 08000500 00000001
    5c000480 08000100 00000005 08000200 0000003c 08000300 00000010 08000400 00000078 08000500 0000003c 08000600 0000001e
    08000700 00000078 08000800 0000000a 08000900 00000078 08000a00 0000012c 08000b00 0000012c";

/// The answer of Linux 6.18 to `default-get timeout inet6 udp`.
const DEFAULT: &str = "
    38000000 0308 0200 01000000 01000000 00000000
    06000200 000a0000 05000300 11000000 14000480 08000100 0000001e 08000200 00000078";

fn foo() -> Timeouts {
    Timeouts { name: Some("foo".to_owned()), l3: 2, l4: 6, seconds: vec![(1, 5), (3, 16)] }
}

#[test]
fn a_policy_is_made_as_nfct_makes_it() {
    assert_eq!(built(|out| add(out, 1, &foo())), hex(ADD));
}

#[test]
fn a_policy_without_states_has_no_nest() {
    let bare = built(|out| add(out, 1, &Timeouts { seconds: Vec::new(), ..foo() }));
    assert_eq!(bare, hex("2c000000 0008 0504 01000000 00000000 00000000 08000100 666f6f00 06000200 00020000 05000300 06000000"));
}

#[test]
fn an_entry_has_every_state() {
    let seconds = [5, 60, 16, 120, 60, 30, 120, 10, 120, 300, 300];
    let shown = Timeouts::parse(Attrs::new(&hex(ENTRY)[20..])).unwrap();
    assert_eq!(shown, Timeouts { seconds: (1..).zip(seconds).collect(), ..foo() });
    assert_eq!(shown.seconds.len(), states(6).len());
}

#[test]
fn defaults_have_no_name() {
    let shown = Timeouts::parse(Attrs::new(&hex(DEFAULT)[20..])).unwrap();
    assert_eq!(shown, Timeouts { name: None, l3: 10, l4: 17, seconds: vec![(1, 30), (2, 120)] });
}

#[test]
fn the_other_requests_are_those_of_nfct() {
    let name = "08000100 666f6f00";
    assert_eq!(built(|out| get(out, 7, "foo")), hex(&format!("1c000000 0108 0500 07000000 00000000 00000000 {name}")));
    assert_eq!(built(|out| delete(out, 7, "foo")), hex(&format!("1c000000 0208 0500 07000000 00000000 00000000 {name}")));
    assert_eq!(built(|out| flush(out, 7)), hex("14000000 0208 0500 07000000 00000000 00000000"));
    assert_eq!(built(|out| dump(out, 7)), hex("14000000 0108 0103 07000000 00000000 00000000"));
    let icmpv6 = hex("24000000 0408 0500 07000000 00000000 00000000 06000200 000a0000 05000300 3a000000");
    assert_eq!(built(|out| get_default(out, 7, 10, 58)), icmpv6);
    let udp = Timeouts { name: None, l3: 2, l4: 17, seconds: vec![(2, 7)] };
    let set = "30000000 0308 0500 07000000 00000000 00000000 06000200 00020000 05000300 11000000 0c000480 08000200 00000007";
    assert_eq!(built(|out| set_default(out, 7, &udp)), hex(set));
}

#[test]
fn an_entry_without_protocols_is_refused() {
    let entry = hex(ENTRY);
    assert_eq!(Timeouts::parse(Attrs::new(&entry[20..28])), Err(Malformed("timeout family")));
    assert_eq!(Timeouts::parse(Attrs::new(&entry[20..36])), Err(Malformed("timeout protocol")));
}
