//! Parts that the lines of conntrack(8) have in common: scripts read them, so each byte counts.

use std::fmt;
use std::net::IpAddr;

use super::tuple::Shape;
use crate::types::Tuple;

/// Both addresses and what the protocol has beside them, each with a blank behind it.
pub(super) fn side(f: &mut impl fmt::Write, prefix: &str, tuple: &Tuple) -> fmt::Result {
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

/// Holds the last blank back: fields are written each with a blank behind it, and a line has none at its end.
pub(super) struct Trimmed<'a, W> {
    out: &'a mut W,
    held: bool,
}

impl<'a, W: fmt::Write> Trimmed<'a, W> {
    pub(super) fn new(out: &'a mut W) -> Self {
        Self { out, held: false }
    }
}

impl<W: fmt::Write> fmt::Write for Trimmed<'_, W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.is_empty() {
            return Ok(());
        }
        if std::mem::take(&mut self.held) {
            self.out.write_char(' ')?;
        }
        let kept = text.strip_suffix(' ');
        self.held = kept.is_some();
        self.out.write_str(kept.unwrap_or(text))
    }
}

/// An address as `inet_ntop` writes it: unlike Rust, it shows the last four bytes of an IPv4-compatible `::a.b.c.d` in decimal.
pub(super) struct Address(pub(super) IpAddr);

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

/// A protocol's name, as `libnetfilter_conntrack` has it.
pub(super) fn protocol(number: u8) -> &'static str {
    match number {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        47 => "gre",
        58 => "icmpv6",
        132 => "sctp",
        136 => "udplite",
        _ => "unknown",
    }
}
