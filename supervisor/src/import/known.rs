//! The helpers that conntrackd 1.4.x brings: what it accepts of each.

use cthelper_proto::types::L4;

/// Name and protocols of each helper; its only policy has the helper's name.
const KNOWN: [(&str, &[L4]); 10] = [
    ("amanda", &[L4::Udp]),
    ("dhcpv6", &[L4::Udp]),
    ("ftp", &[L4::Tcp]),
    ("mdns", &[L4::Udp]),
    ("rpc", &[L4::Tcp, L4::Udp]),
    ("sane", &[L4::Tcp]),
    ("slp", &[L4::Udp]),
    ("ssdp", &[L4::Tcp, L4::Udp]),
    ("tftp", &[L4::Udp]),
    ("tns", &[L4::Tcp]),
];

/// The protocols of a helper; `None` = conntrackd has none of this name, though somebody may have built one.
pub(super) fn protocols(name: &str) -> Option<&'static [L4]> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, protocols)| *protocols)
}
