use super::*;
use crate::netlink::golden::{self, built, hex};

fn ftp() -> Helper {
    Helper {
        name: "ftp-u".to_owned(),
        family: 2,
        l4: 6,
        queue: 100,
        classes: vec![Policy { name: "ftp".to_owned(), expect_max: 1, timeout_secs: 300 }],
        state_len: 24,
        status: ENABLED,
    }
}

#[test]
fn a_registration_is_what_the_kernel_took() {
    assert_eq!(built(|out| register(out, 0x68, flag::CREATE | flag::ACK, &ftp())), hex(golden::HELPER_NEW));
}

#[test]
fn an_entry_of_a_dump_is_the_helper_that_was_registered() {
    assert_eq!(Helper::parse(Attrs::new(&hex(golden::HELPER_ENTRY)[20..])), Ok(ftp()));
}

#[test]
fn what_nfct_adds_is_disabled_and_has_no_queue() {
    let out = built(|out| add(out, 1, &ftp()));
    let plain = Helper { queue: 0, status: DISABLED, ..ftp() };
    assert_eq!(Helper::parse(Attrs::new(&out[20..])), Ok(plain));
    let kinds: Vec<_> = Attrs::new(&out[20..]).iter().map(|attr| attr.unwrap().kind).collect();
    assert_eq!(kinds, [NAME, TUPLE, POLICY, PRIV_DATA_LEN]);
}

#[test]
fn a_change_names_its_helper_and_nothing_else() {
    let key = "0a000100 6674702d75000000 14000280 06000100 000a0000 05000200 11000000";
    let head = "3c000000 0009 0500 07000000 00000000 00000000";
    let enable = hex(&format!("{head} {key} 08000600 00000001"));
    assert_eq!(built(|out| set_status(out, 7, "ftp-u", 10, 17, true)), enable);
    let disable = hex(&format!("{head} {key} 08000600 00000000"));
    assert_eq!(built(|out| set_status(out, 7, "ftp-u", 10, 17, false)), disable);
    let queue = hex(&format!("{head} {key} 08000300 00000009"));
    assert_eq!(built(|out| set_queue(out, 7, "ftp-u", 10, 17, 9)), queue);
}

#[test]
fn only_flush_is_without_a_name() {
    let name = "08000100 66747000";
    assert_eq!(built(|out| delete(out, 1, "ftp", None)), hex(&format!("1c000000 0209 0500 01000000 00000000 00000000 {name}")));
    assert_eq!(built(|out| flush(out, 1)), hex("14000000 0209 0500 01000000 00000000 00000000"));
    assert_eq!(built(|out| get(out, 1, "ftp", None)), hex(&format!("1c000000 0109 0500 01000000 00000000 00000000 {name}")));
    let tuple = "14000280 06000100 00020000 05000200 06000000";
    let narrow = hex(&format!("30000000 0109 0500 01000000 00000000 00000000 {name} {tuple}"));
    assert_eq!(built(|out| get(out, 1, "ftp", Some((2, 6)))), narrow);
}

#[test]
fn a_dump_asks_for_all() {
    assert_eq!(built(|out| dump(out, 3)), hex("14000000 0109 0103 03000000 00000000 00000000"));
}

#[test]
fn a_helper_without_name_or_tuple_is_refused() {
    let entry = hex(golden::HELPER_ENTRY);
    assert_eq!(Helper::parse(Attrs::new(&entry[32..])), Err(Malformed("helper name")));
    assert_eq!(Helper::parse(Attrs::new(&entry[20..40])), Err(Malformed("helper tuple")));
}

#[test]
fn five_classes_are_refused() {
    let out = built(|out| {
        Writer::new(out).nest(POLICY, |w| {
            for _ in 0..5 {
                w.nest(POLICY_SET1, |w| w.str0(SET_NAME, "x"));
            }
        });
    });
    assert_eq!(Helper::parse(Attrs::new(&out)), Err(Malformed("helper classes")));
}
