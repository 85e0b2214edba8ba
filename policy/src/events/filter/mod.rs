//! `proto tcp and dport 21,8000-8080 and not src 10.0.0.0/8 and (helper ftp or label 5)`
//!
//! ```text
//! any     = all { ("or" | "||") all }
//! all     = one { ("and" | "&&") one }
//! one     = ("not" | "!") one | "(" any ")" | test
//! test    = FLAG | FIELD value { "," value }
//! ```
//! | field | values |
//! |---|---|
//! | `event` | `new` `update` `destroy` `expect-new` `expect-destroy` |
//! | `family` | `inet` `inet6` |
//! | `proto` | `tcp` `udp` `icmp` `icmpv6` `gre` `sctp` `dccp` `udplite`, or a number |
//! | `state` | of TCP, SCTP or DCCP, as conntrack(8) prints it, in either case |
//! | `src` `dst` `reply-src` `reply-dst`, `addr` for any of them | address, prefix, or range `first-last` |
//! | `sport` `dport` `reply-sport` `reply-dport`, `port` for any of them | port or range; only of protocols that have ports |
//! | `zone` `zone-orig` `zone-reply` | number or range; `zone`: of either direction |
//! | `mark` | `value` or `value/mask`, decimal or `0x…` |
//! | `label` | 0 to 127 |
//! | `helper` | name |
//!
//! Flags: `replied` `assured` `nated` `snat` `dnat` `expected` `helped` `offloaded`. Several values mean any of them. What is not known
//! of a connection is not so: `helper ftp` is false where nobody knows the helper, and `not helper ftp` is true.
//!
//! Of an expectation, `src`, `dst`, `sport`, `dport` are those of the connection to come, as far as its mask compares them, `zone` and
//! `helper` its own; marks, labels, states and the other flags it has none.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use cthelper_proto::netlink::report::{Kinds, Report};
use cthelper_proto::types::Family;

use super::{Known, Needs};

mod eval;
mod parse;
mod print;
mod told;
mod words;

pub use parse::FilterError;

/// Longest text, bytes.
pub const MAX_LENGTH: usize = 4096;
/// How deep parentheses and negations may be nested; evaluation recurses as deep.
pub const MAX_DEPTH: usize = 32;
/// Most values of one test.
pub const MAX_VALUES: usize = 256;

/// What must be true of an event; the empty one is true of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    expr: Option<Expr>,
}

/// In normal form: `And` and `Or` have two parts at least, none of their own kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Expr {
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    Is(Test),
}

/// One property. Lists have one value at least, and any of them will do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Event(Kinds),
    Family(Vec<Family>),
    Proto(Vec<u8>),
    State(Vec<&'static str>),
    Addr(Place, Vec<Net>),
    Port(Place, Vec<Span>),
    Zone(Zone, Vec<Span>),
    Mark(Vec<Mark>),
    Label(Vec<u8>),
    Helper(Vec<String>),
    Flag(Flag),
}

/// Where an address or port stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Src,
    Dst,
    ReplySrc,
    ReplyDst,
    Any,
}

/// Whose zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zone {
    Orig,
    Reply,
    Any,
}

/// Addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    /// With no bits set beyond its length.
    Prefix(IpAddr, u8),
    /// Both ends included, the first not above the last.
    Range(IpAddr, IpAddr),
}

/// Numbers, both ends included, the first not above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span(u16, u16);

/// A connection's mark under a mask. Bits outside the mask are not in the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    value: u32,
    mask: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flag {
    Replied,
    Assured,
    Nated,
    Snat,
    Dnat,
    Expected,
    Helped,
    Offloaded,
}

impl Filter {
    /// Reads an expression; blank text is the filter that is true of each event.
    ///
    /// # Errors
    /// The first thing that is wrong, where it is, and what may have been meant.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|expr| Self { expr })
    }

    /// Whether it is true of each event.
    pub fn is_empty(&self) -> bool {
        self.expr.is_none()
    }

    /// Whether it is true of this event. Allocates nothing.
    pub fn matches(&self, report: &Report<'_>, known: &Known<'_>) -> bool {
        self.expr.as_ref().is_none_or(|expr| eval::matches(expr, report, known))
    }

    /// What must be remembered of connections so that it can be evaluated.
    pub fn needs(&self) -> Needs {
        self.expr.as_ref().map_or(Needs::default(), eval::needs)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    /// One that reads back as the same filter.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.expr.as_ref().map_or(Ok(()), |expr| print::expr(f, expr))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
