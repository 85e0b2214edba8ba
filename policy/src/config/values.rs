//! Single values of the configuration, each refusing what it cannot be.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// A helper's name: what the kernel's registry takes (`NF_CT_HELPER_NAME_LEN`, 16 with the final NUL).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HelperName(pub(super) String);

impl TryFrom<String> for HelperName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let fits = (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if fits { Ok(Self(name)) } else { Err(format!("helper name {name:?}: 1 to 15 of a-z A-Z 0-9 _ . -")) }
    }
}

/// A user's or group's name; what it stands for is looked up, and 0 refused again, when workers are launched.
pub(super) fn not_root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if ["root", "0", ""].contains(&name.as_str()) {
        Err(D::Error::custom("workers never run as root: name another"))
    } else {
        Ok(name)
    }
}

/// A range of uids, `"60700-60799"`, both ends included; none is 0, an overflow id (65534) or one that means "no change" (65535, 2³²-1).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Uids(RangeInclusive<u32>);

impl Uids {
    /// Ids that mean something else to kernel or libc: credentials(7), `user_namespaces(7)`, `setreuid(2)`.
    const TAKEN: [u32; 4] = [0, 65_534, 65_535, u32::MAX];

    /// How many.
    pub fn count(&self) -> usize {
        usize::try_from(self.0.end() - self.0.start()).map_or(usize::MAX, |last| last.saturating_add(1))
    }

    /// The one at this place, from 0.
    pub fn nth(&self, place: usize) -> Option<u32> {
        let uid = self.0.start().checked_add(u32::try_from(place).ok()?)?;
        self.0.contains(&uid).then_some(uid)
    }
}

impl TryFrom<String> for Uids {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("uids {text:?}: two numbers, such as \"60700-60799\", the first not above the second");
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| bad());
        let range = number(first)?..=number(last)?;
        if range.is_empty() {
            return Err(bad());
        }
        match Self::TAKEN.into_iter().find(|taken| range.contains(taken)) {
            Some(taken) => Err(format!("uids {text:?}: {taken} is not for workers; name a range without it")),
            None => Ok(Self(range)),
        }
    }
}

/// A time span with its unit: `"300s"`, `"500ms"`, `"5min"`, `"1h"`. Above 0, at most a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Span(pub(super) Duration);

impl Span {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    /// Milliseconds in each, the largest first.
    const UNITS: [(u128, &'static str); 4] = [(3_600_000, "h"), (60_000, "min"), (1000, "s"), (1, "ms")];
}

impl fmt::Display for Span {
    /// As it is written, in the largest unit that leaves no rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let (size, unit) = Self::UNITS.into_iter().find(|(size, _)| millis.is_multiple_of(*size)).unwrap_or((1, "ms"));
        write!(f, "{}{unit}", millis / size)
    }
}

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bad = || format!("time span {text:?}: a whole number and ms, s, min or h, such as \"300s\"");
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1000,
            "min" => 60_000,
            "h" => 3_600_000,
            _ => return Err(bad()),
        };
        let number: u64 = number.parse().map_err(|_| bad())?;
        let span = Duration::from_millis(number.checked_mul(milliseconds).ok_or_else(bad)?);
        if span.is_zero() || span > Self::LONGEST {
            return Err(format!("time span {text:?}: above 0, at most 24h"));
        }
        Ok(Self(span))
    }
}

/// A time span that the kernel keeps in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Span")]
pub(super) struct Seconds(pub(super) u32);

impl TryFrom<Span> for Seconds {
    type Error = String;

    fn try_from(span: Span) -> Result<Self, String> {
        if span.0.subsec_millis() != 0 {
            return Err("time span: whole seconds here".into());
        }
        u32::try_from(span.0.as_secs()).map(Self).map_err(|_| "time span: too long".into())
    }
}

/// A value of a helper's own option.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "an option is a string, a whole number or true or false")]
pub(super) enum OptionValue {
    /// `"text"`
    Text(String),
    /// `7`
    Number(i64),
    /// `true`
    Switch(bool),
}

impl From<OptionValue> for String {
    fn from(value: OptionValue) -> Self {
        match value {
            OptionValue::Text(text) => text,
            OptionValue::Number(number) => number.to_string(),
            OptionValue::Switch(switch) => switch.to_string(),
        }
    }
}
