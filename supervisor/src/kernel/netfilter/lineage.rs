//! Where an announced connection comes from: the kernel is asked for its master, for that one's master, and so on.

use cthelper_proto::netlink::conntrack::{self, Conntrack};
use cthelper_proto::netlink::message::Body;
use cthelper_proto::types::Tuple;

use super::socket::Nfnl;

/// Longest chain that is looked through. H.323's has three links.
const DEEPEST: usize = 4;

/// A chain of connections, each announced by the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lineage {
    /// The helper of the first, which nobody announced.
    pub(super) helper: String,
    /// The others, from the one that the first announced down to the one that was asked about.
    pub(super) announced: Vec<Tuple>,
}

/// That of a connection with this master; `None` if one of those above it is gone, or has no helper.
pub(super) fn of(socket: &mut Nfnl, zone: u16, orig: Tuple, master: Tuple) -> Option<Lineage> {
    climb(orig, master, |tuple| find(socket, zone, tuple))
}

/// What the kernel tells of one of them.
#[derive(Clone, Debug)]
struct Found {
    master: Option<Tuple>,
    helper: Option<String>,
}

fn climb(orig: Tuple, master: Tuple, mut find: impl FnMut(&Tuple) -> Option<Found>) -> Option<Lineage> {
    let (mut announced, mut above) = (vec![orig], master);
    while announced.len() <= DEEPEST {
        let found = find(&above)?;
        let Some(next) = found.master else {
            announced.reverse();
            return found.helper.map(|helper| Lineage { helper, announced });
        };
        announced.push(above);
        above = next;
    }
    None
}

fn find(socket: &mut Nfnl, zone: u16, tuple: &Tuple) -> Option<Found> {
    let mut found = None;
    let asked = socket.request(
        |out, seq| conntrack::get(out, seq, tuple, zone),
        |message| {
            if let Body::Nf { attrs, .. } = message.body {
                found = Conntrack::parse(attrs)
                    .ok()
                    .map(|ct| Found { master: ct.master, helper: ct.help.map(|help| help.name.shown().into_owned()) });
            }
        },
    );
    asked.ok().and(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tuple(dport: u16) -> Tuple {
        Tuple { src: [10, 0, 1, 2].into(), dst: [10, 0, 2, 2].into(), proto: 6, sport: 40_000, dport }
    }

    /// Connection n has master n - 1, and 1 has none.
    fn asked_about(n: u16, gone: u16) -> Option<Lineage> {
        climb(tuple(n), tuple(n - 1), |asked| {
            let found = Found { master: (asked.dport > 1).then(|| tuple(asked.dport - 1)), helper: Some("ras".to_owned()) };
            (asked.dport != gone).then_some(found)
        })
    }

    #[test]
    fn all_up_to_the_one_that_nobody_announced_are_told_downwards() {
        let lineage = |announced: &[u16]| {
            Some(Lineage { helper: "ras".to_owned(), announced: announced.iter().copied().map(tuple).collect() })
        };
        assert_eq!(asked_about(2, 0), lineage(&[2]));
        assert_eq!(asked_about(4, 0), lineage(&[2, 3, 4]));
        assert_eq!(asked_about(4, 2), None, "one of them is gone");
        assert!(asked_about(5, 0).is_some() && asked_about(6, 0).is_none(), "too deep");
        let nobody = |_: &Tuple| Some(Found { master: None, helper: None });
        assert_eq!(climb(tuple(2), tuple(1), nobody), None, "the first has no helper");
        let round = |asked: &Tuple| Some(Found { master: Some(*asked), helper: None });
        assert_eq!(climb(tuple(2), tuple(1), round), None, "nothing goes on for ever");
    }
}
