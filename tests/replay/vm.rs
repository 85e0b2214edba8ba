//! What a router saw of real peers: captures that `tests/vm/guest/datagrams/record.sh` and `records-record.sh` made on Linux 6.1, one for each
//! protocol. What cthelperd expected there it must find in them.

use cthelper_tests::program::{Said, Temporary, cthelperd};

use crate::datagrams::example;
use crate::is_transcript;

fn is_told(capture: &str, helper: &str, config: Option<&str>) {
    let path = format!("{}/replay/vm/{capture}.pcap", env!("CARGO_MANIFEST_DIR"));
    let mut args = vec!["replay", "--json", "--helper", helper];
    args.extend(config.into_iter().flat_map(|path| ["--config", path]));
    args.push(&path);
    let Said { code, out, err } = cthelperd(&args);
    assert_eq!((code, err.as_str()), (0, ""), "{capture}");
    is_transcript(&format!("vm/{capture}"), &out);
}

#[test]
fn real_peers() {
    for (capture, helper) in
        [("tftp", "tftp"), ("mdns", "mdns"), ("slp", "slp"), ("ssdp", "ssdp"), ("dhcpv6", "dhcpv6"), ("dhcpv6-relay", "dhcpv6")]
    {
        is_told(capture, helper, None);
    }
    for (helper, config) in [("wsd", "wsd"), ("bjnp", "bjnp"), ("nbns", "netbios-ns")] {
        is_told(helper, helper, Some(&example(config)));
    }
}

/// All cases of records.sh, NFS included, and the six downloads of ftp-matrix.sh, as far as the helpers' ports saw them: 17, 5, 2, 7 and 6
/// expectations there and here. Ten of rpc's are refused there, too: some other connection had announced the place before.
#[test]
fn control_connections_of_real_peers() {
    for helper in ["rpc", "tns", "sane", "amanda", "ftp"] {
        is_told(helper, helper, None);
    }
}

/// A subscription goes to the port that the device named.
#[test]
fn a_subscription_and_its_event() {
    let config = Temporary::new("ssdp-event.toml", b"[helper.ssdp]\nports = [49152]\n");
    is_told("ssdp-event", "ssdp", Some(config.path()));
}
