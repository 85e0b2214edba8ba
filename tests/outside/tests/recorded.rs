//! Calls through a router, as `tcpdump` recorded them.

#[test]
fn recorded_calls_are_expected_as_they_were() {
    let capture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/call.pcap");
    cthelper_worker::testkit::recorded("dial", env!("CARGO_BIN_EXE_cthelper-dial"), capture);
}
