//! What rpc, tns, sane and amanda say no to, as a table for each: the packet passes as it came, nothing is asked, and the refusal has a name.
//! What costs much is counted in tests/bounds; what policy refuses is in tests/replay.

use super::amanda::Amanda;
use super::rpc::Rpc;
use super::sane::Sane;
use super::tns::Tns;
use crate::testkit::{Talk, talk};

/// What the server says, and the name of what is wrong; `None`: nothing is, and nothing is announced.
type Row = (Vec<u8>, Option<&'static str>);

fn are_refused(before: impl Fn() -> Talk, rows: impl IntoIterator<Item = Row>) {
    for (bytes, field) in rows {
        let said = before().from_server(&bytes).passes_unchanged();
        assert_eq!((said.asked(), said.field()), (&[][..], field), "{bytes:02x?}");
    }
}

/// Each beginning of `whole` but itself, and the field that is missing there: `fields` says up to which length each is.
fn cut(whole: &[u8], fields: &[(usize, Option<&'static str>)]) -> Vec<Row> {
    let missing = |len: usize| fields.iter().find(|(end, _)| len < *end).and_then(|(_, field)| *field);
    (0..whole.len()).map(|len| (whole[..len].to_vec(), missing(len))).collect()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

// ---- rpc ----

fn getport() -> Vec<u8> {
    words(&[1, 0, 2, 100_000, 2, 3, 0, 0, 0, 0, 100_005, 3, 6, 0])
}

fn getaddr() -> Vec<u8> {
    words(&[1, 0, 2, 100_000, 4, 3, 0, 0, 0, 0, 100_005, 3, 0, 0, 0])
}

/// The answer to call 1, with results.
fn success(results: &[u8]) -> Vec<u8> {
    [words(&[1, 1, 0, 0, 0, 0]), results.to_vec()].concat()
}

/// A universal address that says it has `length` bytes.
fn universal(length: u32, text: &[u8]) -> Vec<u8> {
    success(&[words(&[length]), text.to_vec()].concat())
}

const HEAD: [(usize, Option<&str>); 5] = [
    (4, Some("xid")),
    (8, Some("message type")),
    (12, Some("reply status")),
    (20, Some("verifier")),
    (24, Some("accept status")),
];

#[test]
fn rpc_ports() {
    let whole = success(&words(&[2049]));
    let cuts = cut(&whole, &[&HEAD[..], &[(28, Some("port"))]].concat());
    let rows = [
        (success(&words(&[0])), None),
        (success(&words(&[65_536])), Some("port over 65535")),
        (success(&words(&[u32::MAX])), Some("port over 65535")),
        (success(&words(&[2049, 2049])), Some("bytes behind the port")),
        (success(&[0; 2000]), Some("bytes behind the port")),
        (words(&[2, 1, 0, 0, 0, 0, 2049]), Some("answer without a call")),
        (words(&[1, 2, 0, 0, 0, 0, 2049]), Some("message type")),
        (words(&[1, 1, 2, 0, 0, 0, 2049]), Some("reply status")),
        (words(&[1, 1, 1, 0, 2, 2]), None),
        (words(&[1, 1, 0, 0, 0, 1, 2049]), None),
        (words(&[1, 1, 0, 0, 401, 0, 2049]), Some("verifier")),
        (words(&[1, 1, 0, 0, u32::MAX, 0, 2049]), Some("verifier")),
        (words(&[1, 1, 0, 0, 8, 0, 2049]), Some("accept status")),
        (getport(), Some("call from the server")),
    ];
    are_refused(|| talk(Rpc).over_udp().from_client(getport()), cuts.into_iter().chain(rows));
}

#[test]
fn rpc_addresses() {
    let whole = universal(12, b"10.0.2.2.8.1");
    let cuts = cut(&whole, &[&HEAD[..], &[(40, Some("address length"))]].concat());
    let rows = [
        (universal(0, b""), None),
        (universal(4, b"10.0.2.2.8.1"), Some("bytes behind the address")),
        (universal(13, b"10.0.2.2.8.1"), Some("address length")),
        (universal(54, &[b'1'; 56]), Some("address length")),
        (universal(u32::MAX, b"10.0.2.2.8.1"), Some("address length")),
        (universal(12, b"10.0.2.2.8.1\0\0\0\0"), Some("bytes behind the address")),
        (universal(12, b"10.0.2.2.8.x"), Some("universal address")),
        (universal(12, b"10.0.2.2.8-1"), Some("universal address")),
        (universal(12, b"10.0.256.8.1"), Some("universal address")),
        (universal(12, b"10.0.2.2.0.0"), None),
        (universal(14, b"10.0.2.2.8.256\0\0"), Some("universal address")),
        (universal(8, b"......11"), Some("universal address")),
    ];
    are_refused(|| talk(Rpc).over_udp().from_client(getaddr()), cuts.into_iter().chain(rows));
}

/// A call that is none is not remembered, so its answer is without one.
#[test]
fn rpc_calls() {
    let fields = [(4, "xid"), (8, "message type"), (12, "RPC version"), (16, "program"), (20, "version"), (24, "procedure")];
    let fields =
        fields.into_iter().chain([(32, "credentials"), (40, "verifier"), (44, "program"), (48, "version"), (52, "protocol")]);
    let fields: Vec<_> = fields.map(|(end, field)| (end, Some(field))).collect();
    let lies = [
        (words(&[1, 0, 3, 100_000, 2, 3, 0, 0, 0, 0, 100_005, 3, 6, 0]), Some("RPC version")),
        (words(&[1, 0, 2, 100_000, 2, 3, 0, 401, 0, 0, 100_005, 3, 6, 0]), Some("credentials")),
        (words(&[1, 0, 2, 100_000, 2, 3, 0, 0, 0, u32::MAX, 100_005, 3, 6, 0]), Some("verifier")),
    ];
    for (bytes, field) in cut(&getport(), &fields).into_iter().take(52).chain(lies) {
        let said = talk(Rpc).over_udp().from_client(&bytes).passes_unchanged().expects_nothing();
        assert_eq!(said.field(), field, "{bytes:02x?}");
        said.from_server(success(&words(&[2049]))).expects_nothing().malformed("answer without a call");
    }
}

// ---- tns ----

fn tns(length: usize, kind: u8, body: &[u8]) -> Vec<u8> {
    [&u16::try_from(length).unwrap().to_be_bytes()[..], &[0, 0, kind, 0, 0, 0], body].concat()
}

fn redirect(text: &str) -> Vec<u8> {
    redirect_saying(text.len(), text)
}

fn redirect_saying(length: usize, text: &str) -> Vec<u8> {
    tns(10 + text.len(), 5, &[&u16::try_from(length).unwrap().to_be_bytes(), text.as_bytes()].concat())
}

#[test]
fn tns_redirects() {
    const ADDRESS: &str = "(ADDRESS=(PROTOCOL=TCP)(HOST=10.0.2.2)(PORT=49152))";
    // What has no end yet is awaited.
    let cuts = cut(&redirect(ADDRESS), &[]);
    let texts = [
        ("(HOST=10.0.2.2)(PORT=65536)", Some("port over 65535")),
        ("(HOST=10.0.2.2)(PORT=99999999999999999999)", Some("port over 65535")),
        ("(HOST=10.0.2.2)(PORT=0)", Some("port 0")),
        ("(HOST=10.0.2.2)(PORT=)", Some("PORT")),
        ("(HOST=10.0.2.2)(PORT=80 81)", Some("PORT")),
        ("(HOST=10.0.2.2)(PORT=-80)", Some("PORT")),
        ("(HOST=10.0.2.256)(PORT=49152)", Some("HOST")),
        ("(HOST=10.0.2.2;x)(PORT=49152)", Some("HOST")),
        ("(HOST=)(PORT=49152)", Some("HOST")),
        ("(HOST=10.0.2.2)", Some("half an address")),
        ("(PORT=49152)", Some("half an address")),
        ("(HOST=10.0.2.2)(PORT=49152", Some("half an address")),
        ("(HOST=10.0.2.2\0)(PORT=49152)", None),
        ("(PROTOCOL=IPC)(HOST=10.0.2.2)(PORT=49152)", None),
        ("HOST=10.0.2.2 PORT=49152", None),
        ("", None),
    ];
    let lies = [
        (redirect_saying(52, ADDRESS), Some("redirect length")),
        (redirect_saying(0xffff, ADDRESS), Some("redirect length")),
        (redirect_saying(14, ADDRESS), None),
        (tns(7, 5, b""), Some("record length")),
        (tns(0, 5, b""), Some("record length")),
        (tns(8, 5, b""), Some("redirect length")),
        (tns(9, 5, b"\0"), Some("redirect length")),
        (tns(0xffff, 5, b"\0\x33(HOST=10.0.2.2)(PORT=49152)"), None),
        (tns(10 + ADDRESS.len(), 4, &[b"\0\x33", ADDRESS.as_bytes()].concat()), None),
    ];
    let texts = texts.into_iter().map(|(text, field)| (redirect(text), field));
    are_refused(|| talk(Tns).from_client(tns(58, 1, &[1; 50])), cuts.into_iter().chain(texts).chain(lies));
}

// ---- sane ----

#[test]
fn sane_answers() {
    let whole = words(&[0, 40_000, 0x1234, 0]);
    // Four bytes are an answer to AUTHORIZE.
    let cuts = cut(&whole[..8], &[(4, Some("status")), (5, None), (8, Some("port"))]);
    let rows = [
        (words(&[0, 65_536, 0x1234, 0]), Some("port over 65535")),
        (words(&[0, u32::MAX, 0x1234, 0]), Some("port over 65535")),
        (words(&[0, 0, 0x1234, 0]), Some("port 0")),
        (words(&[0, 0]), Some("port 0")),
        (words(&[7, 40_000, 0x1234, 0]), None),
        (words(&[0, 0, 0x1234, u32::MAX]), None),
    ];
    are_refused(|| talk(Sane).from_client(words(&[7, 1])), cuts.into_iter().chain(rows.clone()));
    // Without a start nothing is an answer to one.
    are_refused(|| talk(Sane), rows.into_iter().map(|(bytes, _)| (bytes, None)).chain([(whole, None)]));
}

// ---- amanda ----

#[test]
fn amanda_replies() {
    const REPLY: &str = "Amanda 2.6 REP HANDLE 000-0 SEQ 1\n";
    let whole = format!("{REPLY}CONNECT DATA 5001 MESG 5002\n");
    let connect = REPLY.len() + "CONNECT".len();
    let cuts = cut(whole.as_bytes(), &[(connect, None), (whole.len(), Some("line without an end"))]);
    let lines = [
        ("CONNECT DATA 65536\n", Some("port over 65535")),
        ("CONNECT DATA 99999999999999999999\n", Some("port over 65535")),
        ("CONNECT DATA\n", Some("port missing")),
        ("CONNECT DATA \n", Some("port missing")),
        ("CONNECT DATA x\n", Some("port missing")),
        ("CONNECT data 5001\n", Some("stream")),
        ("CONNECT 5001\n", Some("stream")),
        ("CONNECT DATA 5001 DATA 5001\n", Some("stream named twice")),
        ("CONNECT A 1 B 2 C 3 D 4 E 5\n", Some("fifth stream")),
        ("CONNECT DATA 5001\nCONNECT DATA 5002\n", Some("two CONNECT lines")),
        ("CONNECT DATA 0 MESG -1\n", None),
        ("CONNECT\n", None),
        ("x CONNECT DATA 5001\n", None),
        ("OPTIONS CONNECT DATA 5001\n", None),
    ];
    let lines = lines.into_iter().map(|(line, field)| (format!("{REPLY}{line}").into_bytes(), field));
    let kinds = ["REQ", "ACK", "NAK", "XREP", "rep"];
    let kinds = kinds.into_iter().map(|kind| (whole.replace("REP", kind).into_bytes(), None));
    are_refused(|| talk(Amanda).from_client("Amanda 2.6 REQ HANDLE 000-0 SEQ 1\n"), cuts.into_iter().chain(lines).chain(kinds));
}
