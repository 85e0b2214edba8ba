//! The parts of a crash record that have to be worked out.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cthelper_proto::events::{Exit, InHand, Master};
use cthelper_proto::types::{Dir, Flow};
use nix::sys::signal::Signal;
use sha2::{Digest, Sha256};

use crate::warden::End;

/// A name for the death of a worker: helper, milliseconds since 1970 in hexadecimal, generation. A lane's generations ascend, and a
/// lane of another life began at another time.
pub fn id(helper: &str, generation: u64, at: SystemTime) -> String {
    let millis = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{helper}-{millis:x}-{generation}")
}

/// A signal's name, `SIG34` for one that has none.
pub fn signal_name(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("SIG{number}"), |signal| signal.as_str().to_owned())
}

/// What the kernel said of the process' end.
pub fn exit(end: Option<&End>) -> Exit {
    let Some(end) = end else { return Exit::Unknown };
    match (end.signal, end.code) {
        (Some(number), _) => Exit::Signal { name: signal_name(number), number },
        (None, Some(code)) => Exit::Code(code),
        (None, None) => Exit::Unknown,
    }
}

/// What is told of the packet in hand; `packet` begins with its IP header, `file` is where it is kept.
pub fn in_hand(flow: &Flow, dir: Dir, packet: &[u8], file: Option<&Path>) -> InHand {
    InHand {
        flow: Master::from(&flow.orig),
        direction: direction(dir).to_owned(),
        length: packet.len(),
        hash: hash(packet),
        file: file.map(|path| path.display().to_string()),
    }
}

/// `orig` or `reply`.
pub fn direction(dir: Dir) -> &'static str {
    match dir {
        Dir::Orig => "orig",
        Dir::Reply => "reply",
    }
}

/// `sha256:` and the digest, as `sha256sum` prints it.
pub fn hash(bytes: &[u8]) -> String {
    format!("sha256:{}", super::text::hex(&Sha256::digest(bytes)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_id_is_a_safe_file_name_and_no_other_death_has_it() {
        let at = UNIX_EPOCH + Duration::from_millis(0x19a_0000_00ff);
        assert_eq!(id("ftp", 3, at), "ftp-19a000000ff-3");
        assert_ne!(id("ftp", 3, at), id("ftp", 4, at));
        assert_ne!(id("ftp", 3, at), id("ftp", 3, at + Duration::from_millis(1)));
    }

    #[test]
    fn the_kernels_word_is_code_or_signal() {
        let signal = |number| exit(Some(&End { signal: Some(number), ..End::default() }));
        assert_eq!(signal(11), Exit::Signal { name: "SIGSEGV".to_owned(), number: 11 });
        assert_eq!(signal(34), Exit::Signal { name: "SIG34".to_owned(), number: 34 });
        assert_eq!(exit(Some(&End { code: Some(101), ..End::default() })), Exit::Code(101));
        assert_eq!(exit(None), Exit::Unknown);
    }

    #[test]
    fn the_hash_is_the_one_of_sha256sum() {
        assert_eq!(hash(b"abc"), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
