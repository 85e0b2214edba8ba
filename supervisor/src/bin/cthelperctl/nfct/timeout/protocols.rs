//! Protocols by name, as `getprotobyname` knows them: from /etc/protocols, and the ones that matter where there is no such file.

use std::fs;

use cthelper_proto::netlink::cttimeout::GENERIC;

/// nfct's own words come first; case matters.
const OWN: [(&str, u8); 2] = [("icmpv6", 58), ("generic", GENERIC)];

/// For a machine without /etc/protocols (Debian's package netbase).
const KNOWN: [(&str, u8); 8] =
    [("icmp", 1), ("tcp", 6), ("udp", 17), ("dccp", 33), ("gre", 47), ("ipv6-icmp", 58), ("sctp", 132), ("udplite", 136)];

/// The number of a protocol.
pub fn number(word: &str) -> Option<u8> {
    let own = || OWN.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    let known = || KNOWN.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    own().or_else(|| match fs::read_to_string("/etc/protocols") {
        Ok(text) => listed(&text, word),
        Err(_) => known(),
    })
}

/// In the text of protocols(5): `name number alias ... # comment`.
fn listed(text: &str, word: &str) -> Option<u8> {
    text.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let (name, number) = (words.next()?, words.next()?);
        (name == word || words.any(|alias| alias == word)).then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_alias_are_found_and_comments_are_not() {
        let text = "# tcp 1\nip\t0\tIP\t# internet\n\ntcp\t6\tTCP\t\t# udp\nudp 17 UDP\nodd\nbad x y\n";
        let cases =
            [("tcp", Some(6)), ("TCP", Some(6)), ("ip", Some(0)), ("udp", Some(17)), ("Tcp", None), ("y", None), ("odd", None)];
        for (word, number) in cases {
            assert_eq!(listed(text, word), number, "{word}");
        }
    }

    #[test]
    fn nfcts_own_words_need_no_file() {
        assert_eq!((number("generic"), number("icmpv6"), number("Generic")), (Some(255), Some(58), None));
    }
}
