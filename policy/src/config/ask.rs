//! `[helper.NAME.ask]`: a helper without a parser, for questions by multicast or broadcast that anybody may answer.

use std::net::IpAddr;
use std::num::{NonZeroU8, NonZeroU16};

use cthelper_proto::ipc::{Holds, Question, To};
use cthelper_proto::types::Family;
use serde::Deserialize;

use super::helper::ClassConfig;
use super::values::Seconds;

/// What it looks for, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    to: Groups,
    #[serde(default)]
    holds: Vec<Bytes>,
    answers_from: Option<NonZeroU16>,
    expect_max: Option<NonZeroU8>,
    expect_timeout: Option<Seconds>,
}

impl Table {
    pub(super) fn limits(&self) -> ClassConfig {
        ClassConfig { expect_max: self.expect_max.map(NonZeroU8::get), timeout_secs: self.expect_timeout.map(|span| span.0) }
    }

    /// Those of the places it may go to.
    pub(super) fn families(&self) -> Vec<Family> {
        let may_go = |family: &Family| {
            self.to.0.iter().any(|to| match to {
                To::Addr(addr) => Family::of(*addr) == *family,
                To::Broadcast => *family == Family::Inet,
                To::Multicast => true,
            })
        };
        Family::ALL.into_iter().filter(may_go).collect()
    }

    pub(super) fn into_question(self) -> Question {
        let holds = self.holds.into_iter().map(|bytes| bytes.0).collect();
        Question { to: self.to.0, holds, answers_from: self.answers_from.map(NonZeroU16::get) }
    }
}

/// 1 to 8 places.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<String>")]
struct Groups(Vec<To>);

impl TryFrom<Vec<String>> for Groups {
    type Error = String;

    fn try_from(words: Vec<String>) -> Result<Self, String> {
        if !(1..=8).contains(&words.len()) {
            return Err("to: 1 to 8 addresses, \"multicast\" or \"broadcast\"".into());
        }
        words.iter().map(|word| place(word)).collect::<Result<_, _>>().map(Self)
    }
}

fn place(word: &str) -> Result<To, String> {
    match word {
        "broadcast" => return Ok(To::Broadcast),
        "multicast" => return Ok(To::Multicast),
        _ => {}
    }
    let addr: IpAddr = word.parse().map_err(|_| format!("to: {word:?} is no address, nor \"multicast\" or \"broadcast\""))?;
    let is_broadcast = matches!(addr, IpAddr::V4(addr) if addr.octets().last() == Some(&255));
    if addr.is_multicast() || is_broadcast {
        Ok(To::Addr(addr))
    } else {
        Err(format!("to: {word} is one host's address, whose answers need no helper"))
    }
}

/// `{ at = 4, text = "BJNP" }` or `{ at = 0, hex = "424a 4e50" }`: 1 to 64 bytes within the first 1024.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Bytes(Holds);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    at: u16,
    text: Option<String>,
    hex: Option<String>,
}

impl TryFrom<Written> for Bytes {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let bytes = match (written.text, written.hex) {
            (Some(text), None) => text.into_bytes(),
            (None, Some(hex)) => digits(&hex).ok_or_else(|| format!("holds: {hex:?} is no even number of hexadecimal digits"))?,
            _ => return Err("holds: either text or hex".into()),
        };
        if !(1..=64).contains(&bytes.len()) || usize::from(written.at) + bytes.len() > 1024 {
            return Err("holds: 1 to 64 bytes within the first 1024 of the payload".into());
        }
        Ok(Self(Holds { at: written.at, bytes }))
    }
}

/// Pairs of digits; blanks between them mean nothing.
fn digits(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const BJNP: &str = r#"
[helper.bjnp]
ports = [8612]
[helper.bjnp.ask]
to = ["255.255.255.255", "ff02::1"]
holds = [{ at = 0, text = "BJNP" }, { at = 4, hex = "02 01" }]
answers_from = 8612
expect_max = 4
expect_timeout = "20s"
"#;

    #[test]
    fn a_question_is_all_there_is_to_it() {
        let config = Config::parse(BJNP, "test").unwrap();
        let helper = &config.helpers["bjnp"];
        let question = helper.settings().question.unwrap();
        assert_eq!(question.to, [To::Addr("255.255.255.255".parse().unwrap()), To::Addr("ff02::1".parse().unwrap())]);
        assert_eq!(question.holds, [Holds { at: 0, bytes: b"BJNP".to_vec() }, Holds { at: 4, bytes: vec![2, 1] }]);
        assert_eq!(question.answers_from, Some(8612));
        assert_eq!(helper.classes["answers"], ClassConfig { expect_max: Some(4), timeout_secs: Some(20) });
        assert_eq!(helper.families.as_deref(), Some(&Family::ALL[..]));
        assert_eq!((helper.argument().as_str(), helper.ports.as_deref()), ("?bjnp", Some(&[8612][..])));
    }

    #[test]
    fn families_are_those_of_the_places() {
        for (to, families) in [
            (r#"["broadcast"]"#, &[Family::Inet][..]),
            (r#"["ff02::c"]"#, &[Family::Inet6]),
            (r#"["multicast"]"#, &Family::ALL),
            (r#"["10.0.1.255", "ff02::c"]"#, &Family::ALL),
        ] {
            let text = format!("[helper.x]\nports = [1]\n[helper.x.ask]\nto = {to}\n");
            assert_eq!(Config::parse(&text, "test").unwrap().helpers["x"].families.as_deref(), Some(families), "{to}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (was, is, at, word) in [
            ("ports = [8612]", "", "test:4:1", "needs `ports`"),
            ("ports = [8612]", "ports = [8612]\nworker = \"/x\"", "test:5:1", "beside `worker`"),
            ("255.255.255.255", "10.0.0.1", "test:5:6", "one host's address"),
            ("255.255.255.255", "everybody", "test:5:6", "no address"),
            ("[\"255.255.255.255\", \"ff02::1\"]", "[]", "test:5:6", "1 to 8"),
            ("text = \"BJNP\"", "text = \"\"", "test:6:9", "1 to 64 bytes"),
            ("02 01", "02 0", "test:6:9", "hexadecimal"),
            ("02 01", "02 0g", "test:6:9", "hexadecimal"),
            ("at = 4", "at = 1023", "test:6:9", "1024"),
            ("hex = \"02 01\"", "hex = \"02 01\", text = \"x\"", "test:6:9", "either text or hex"),
            ("answers_from = 8612", "answers_from = 0", "test:7:16", "nonzero"),
            ("answers_from", "answers_form", "test:7:1", "answers_from"),
            ("to = ", "# to = ", "test:4:1", "to"),
        ] {
            let error = Config::parse(&BJNP.replacen(was, is, 1), "test").unwrap_err().to_string();
            assert!(error.starts_with(at) && error.contains(word), "{is}: {error}");
        }
    }
}
