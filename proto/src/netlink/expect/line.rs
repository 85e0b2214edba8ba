//! The line that shows an expectation, as `conntrack -E expect` and `conntrack -L expect` print it: scripts read it, so each byte counts.
//!
//! `[tag] timeout proto= src= dst= <ports> mask-src= mask-dst= <ports> master-src= master-dst= <ports> [zone=] [flags] class= helper=`

use std::fmt;
use std::net::IpAddr;

use super::super::conntrack::Event;
use super::super::tuple::Shape;
use super::{Expectation, INACTIVE, PERMANENT, USERSPACE};
use crate::types::Tuple;

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(timeout) = self.timeout {
            write!(f, "{timeout} ")?;
        }
        write!(f, "proto={} ", self.tuple.proto)?;
        side(f, "", &self.tuple)?;
        side(f, "mask-", &self.mask.tuple(&self.tuple))?;
        side(f, "master-", &self.master)?;
        if self.zone != 0 {
            write!(f, "zone={} ", self.zone)?;
        }
        flags(f, self.flags)?;
        write!(f, "class={}", self.class)?;
        match &self.helper {
            Some(helper) => write!(f, " helper={helper}"),
            None => Ok(()),
        }
    }
}

impl Expectation {
    /// The line of an event, its tag right-aligned to nine columns.
    pub fn event_line(&self, event: Event) -> String {
        let tag = match event {
            Event::New => "[NEW]",
            Event::Update => "[UPDATE]",
            Event::Destroy => "[DESTROY]",
        };
        format!("{tag:>9} {self}")
    }
}

/// Both addresses and what the protocol has beside them, each with a blank behind it.
fn side(f: &mut fmt::Formatter<'_>, prefix: &str, tuple: &Tuple) -> fmt::Result {
    let Tuple { sport, dport, .. } = tuple;
    write!(f, "{prefix}src={} {prefix}dst={} ", Address(tuple.src), Address(tuple.dst))?;
    let [icmp_type, icmp_code] = dport.to_be_bytes();
    match Shape::of(tuple.proto) {
        Shape::Ports => write!(f, "sport={sport} dport={dport} "),
        Shape::Keys => write!(f, "srckey={sport:#x} dstkey={dport:#x} "),
        Shape::Icmp | Shape::Icmpv6 => write!(f, "type={icmp_type} code={icmp_code} id={sport} "),
        Shape::Bare => Ok(()),
    }
}

/// The flags that are set, comma-joined, with one blank behind them.
fn flags(f: &mut fmt::Formatter<'_>, flags: u32) -> fmt::Result {
    let mut delimiter = "";
    for (bit, name) in [(PERMANENT, "PERMANENT"), (INACTIVE, "INACTIVE"), (USERSPACE, "USERSPACE")] {
        if flags & bit != 0 {
            write!(f, "{delimiter}{name}")?;
            delimiter = ",";
        }
    }
    f.write_str(if delimiter.is_empty() { "" } else { " " })
}

/// An address as `inet_ntop` writes it: unlike Rust, it shows the last four bytes of an IPv4-compatible `::a.b.c.d` in decimal.
struct Address(IpAddr);

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V6(addr) => match (addr.segments(), addr.octets()) {
                ([0, 0, 0, 0, 0, 0, high, _], [.., a, b, c, d]) if high != 0 => write!(out, "::{a}.{b}.{c}.{d}"),
                _ => addr.fmt(out),
            },
            IpAddr::V4(addr) => addr.fmt(out),
        }
    }
}
