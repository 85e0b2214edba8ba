//! Messages as Linux 6.12.117 sent or took them on a little-endian machine. Port ids are made up, and so are values where only the
//! structure was recorded: the packet's payload, the id and timeouts of events.

use crate::types::Tuple;

/// The bytes of hexadecimal text; blanks do not matter.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// What a builder appends.
pub(crate) fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

/// Of TCP.
pub(crate) fn tuple(src: &str, sport: u16, dst: &str, dport: u16) -> Tuple {
    Tuple { src: src.parse().unwrap(), dst: dst.parse().unwrap(), proto: 6, sport, dport }
}

/// `CTHELPER_NEW`: `ftp-u`, IPv4 TCP, queue 100, class `ftp` of 1 and 300 s, 24 private bytes, enabled.
pub(crate) const HELPER_NEW: &str = "
    74000000 0009 0504 68000000 00000000 00000000
    0a000100 6674702d75000000
    14000280 06000100 00020000 05000200 06000000
    08000300 00000064
    28000480 08000100 00000001 1c000280 08000100 66747000 08000200 00000001 08000300 0000012c
    08000500 00000018 08000600 00000001";

/// The same helper as a dump shows it.
pub(crate) const HELPER_ENTRY: &str = "
    74000000 0009 0200 68000000 01000000 00000000
    0a000100 6674702d75000000
    08000300 00000064
    14000280 06000100 00020000 05000200 06000000
    28000480 08000100 00000001 1c000280 08000100 66747000 08000200 00000001 08000300 0000012c
    08000500 00000018 08000600 00000001";

/// The acknowledgement of [`HELPER_NEW`], capped.
pub(crate) const ACK: &str = "24000000 0200 0001 68000000 01000000 00000000 74000000 0009 0504 68000000 00000000";

/// EINVAL for a name of 16 characters, with extended acknowledgement.
pub(crate) const REFUSAL: &str = "
    68000000 0200 0003 69000000 01000000 eaffffff 2c000000 0009 0504 69000000 00000000
    27000100 417474726962757465206661696c656420706f6c6963792076616c69646174696f6e 00 00
    08000200 14000000
    14000480 08000700 0f000000 08000100 0c000000";

/// Queue 9: bind.
pub(crate) const BIND: &str = "1c000000 0203 0500 65000000 00000000 0000 0009 08000100 01000000";

/// Queue 9: whole packets, 2048 of them, fail-open, with connection.
pub(crate) const CONFIG: &str = "
    38000000 0203 0500 66000000 00000000 0000 0009
    09000200 0000ffff 02000000 08000300 00000800 08000400 00000003 08000500 00000003";

// The insides of tuples: 10.0.1.2:40296 → 10.0.2.2:2121, its inverse, 10.0.1.2 → 10.0.2.2:3000, its inverse and its mask; then `CTA_HELP`.
const CLIENT: &str =
    "14000180 08000100 0a000102 08000200 0a000202 1c000280 05000100 06000000 06000200 9d680000 06000300 08490000";
const SERVER: &str =
    "14000180 08000100 0a000202 08000200 0a000102 1c000280 05000100 06000000 06000200 08490000 06000300 9d680000";
const EXPECTED: &str =
    "14000180 08000100 0a000102 08000200 0a000202 1c000280 05000100 06000000 06000200 00000000 06000300 0bb80000";
const ANSWERED: &str =
    "14000180 08000100 0a000202 08000200 0a000102 1c000280 05000100 06000000 06000200 0bb80000 06000300 00000000";
const MASK: &str = "14000180 08000100 ffffffff 08000200 ffffffff 1c000280 05000100 06000000 06000200 00000000 06000300 ffff0000";
const HELP: &str = "2c000580 09000100 75667470 00000000 1c000200 000000000000000000000000000000000000000000000000";

/// A SYN in queue 7, id 1, at `POST_ROUTING`, of a connection with helper `uftp` and 24 private bytes.
pub(crate) fn packet() -> Vec<u8> {
    hex(&format!(
        "70010000 0003 0000 00000000 00000000 0200 0007
        0b000100 00000001 0800 04 00
        08000500 00000002 08000600 00000004
        10000900 00060000 d6381b6c31c6 0000
        e8000b80
        34000180 {CLIENT} 34000280 {SERVER}
        08000c00 1b90d77b 08000300 00002000 08000700 00000078
        30000480 2c000180 05000100 01000000 05000200 07000000 05000300 00000000 06000400 03000000 06000500 00000000
        {HELP}
        08000800 00000000
        08000c00 00000002
        40000a00 4500003c {}",
        "00".repeat(56)
    ))
}

/// ACCEPT of packet 4 in queue 7: private data, and an expectation of 10.0.1.2 → 10.0.2.2:3000 that follows its master.
pub(crate) fn verdict() -> Vec<u8> {
    hex(&format!(
        "24010000 0103 0500 6c000000 00000000 0000 0007
        0c000200 00000001 00000004
        30000b80 2c000580 09000100 75667470 00000000 1c000200 {}
        d4000f80
        34000280 {EXPECTED} 34000380 {MASK}
        08000800 00000000 08000900 00000000
        16000b00 6e61742d666f6c6c6f772d6d6173746572 00 0000
        40000a80 08000100 00000000
        34000280 14000180 08000100 00000000 08000200 00000000 1c000280 05000100 06000000 06000200 0bb80000 06000300 00000000",
        "01".repeat(24)
    ))
}

/// `EXP_NEW` through ctnetlink: the same expectation untranslated, with a timeout of 60 s.
pub(crate) fn expect_new() -> Vec<u8> {
    hex(&format!(
        "c8000000 0002 0506 6a000000 00000000 0200 0000
        34000180 {CLIENT} 34000280 {EXPECTED} 34000380 {MASK}
        08000400 0000003c 08000800 00000000 08000900 00000000"
    ))
}

/// The event of [`expect_new`]: the class's 300 s, an id, and the master's helper.
pub(crate) fn expect_event() -> Vec<u8> {
    hex(&format!(
        "dc000000 0002 0006 00000000 01000000 0200 0000
        34000280 {EXPECTED} 34000380 {MASK} 34000180 {CLIENT}
        08000400 0000012c 08000500 8d2f1c44 08000800 00000000 08000900 00000000
        09000600 75667470 00000000"
    ))
}

/// `CT_NEW` event of the connection in [`packet`].
pub(crate) fn conntrack_new() -> Vec<u8> {
    hex(&format!(
        "f0000000 0001 0006 00000000 00000000 0200 0000
        34000180 {CLIENT} 34000280 {SERVER}
        08000c00 1b90d77b 08000300 00002008 08000700 00000078
        30000480 2c000180 05000100 01000000 05000200 07000000 05000300 00000000 06000400 03000000 06000500 00000000
        {HELP}"
    ))
}

/// `CT_NEW` event of the expected connection: a master, no helper.
pub(crate) fn conntrack_related() -> Vec<u8> {
    hex(&format!(
        "e8000000 0001 0006 00000000 00000000 0200 0000
        34000180 {EXPECTED} 34000280 {ANSWERED} 34000e80 {CLIENT}
        08000c00 1b90d77c 08000300 00000189 08000700 00000078
        18000480 14000180 05000100 01000000 05000200 07000000
        08000800 00000000"
    ))
}

/// `CT_DESTROY` event of the connection in [`packet`]: no helper any more.
pub(crate) fn conntrack_destroy() -> Vec<u8> {
    hex(&format!(
        "a4000000 0201 0000 00000000 00000000 0200 0000
        34000180 {CLIENT} 34000280 {SERVER}
        08000c00 1b90d77b 08000300 0000220e 08000700 00000077
        10000480 0c000180 05000100 07000000"
    ))
}

/// Every message the kernel sends.
pub(crate) fn received() -> Vec<Vec<u8>> {
    let mut all: Vec<_> = [HELPER_ENTRY, ACK, REFUSAL].into_iter().map(hex).collect();
    all.extend([packet(), expect_event(), conntrack_new(), conntrack_related(), conntrack_destroy()]);
    all
}
