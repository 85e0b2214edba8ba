//! Sequence adjustment by hand, where the kernel's own is wrong.
//!
//! `nf_ct_tcp_seqadj_set` takes the IPv4 header's length from IPv6 packets and notes a sequence number that is none (seen on
//! Linux 6.1, 6.12 and 7.2). So for IPv6 the adjustment is put into the connection before the verdict, and the verdict goes out
//! without `NFQA_CT`, which is what makes the kernel do its own.

use cthelper_proto::netlink::conntrack::{self, Conntrack, SeqAdj, Update};
use cthelper_proto::netlink::message::Body;
use cthelper_proto::types::State;
use nix::errno::Errno;

use super::socket::Nfnl;
use crate::kernel::{Change, Fault};

/// Whether this change needs it: a payload of another length in a translated IPv6 connection.
pub(super) fn must_be_set_by_hand(change: &Change<'_>) -> bool {
    change.grown != 0 && change.flow.orig.src.is_ipv6() && change.flow.orig.proto == 6
}

/// Notes the change of length, and the new private bytes with it, in the connection.
pub(super) fn set(socket: &mut Nfnl, helper: &str, change: &Change<'_>) -> Result<(), Fault> {
    let fault = |errno| Fault::new("adjust sequence numbers of an IPv6 connection", errno);
    let now = present(socket, change).map_err(fault)?;
    let seqadj = next(now, change.seq, change.grown).map(|seqadj| (change.dir, seqadj));
    let help = change.state.as_ref().map(|state: &State| (helper, state.as_bytes()));
    let update = Update { help, seqadj, timeout: None };
    socket
        .request(|out, seq| conntrack::update(out, seq, &change.flow.orig, change.zone, &update), |_| ())
        .map_err(|refusal| fault(refusal.errno))?;
    match seqadj {
        // A connection without room for it ignores the attribute and says yes.
        Some((_, wanted)) if present(socket, change).map_err(fault)? != wanted => Err(fault(Errno::EOPNOTSUPP)),
        _ => Ok(()),
    }
}

/// The adjustment in force, read afresh: the one in the packet may be older than our last change.
fn present(socket: &mut Nfnl, change: &Change<'_>) -> Result<SeqAdj, Errno> {
    let mut found = None;
    socket
        .request(
            |out, seq| conntrack::get(out, seq, &change.flow.orig, change.zone),
            |message| {
                if let Body::Nf { attrs, .. } = message.body
                    && let Ok(ct) = Conntrack::parse(attrs)
                {
                    found = ct.seqadj.get(change.dir.index()).copied().flatten();
                }
            },
        )
        .map_err(|refusal| refusal.errno)?;
    Ok(found.unwrap_or(SeqAdj { pos: 0, before: 0, after: 0 }))
}

/// The adjustment after a segment at `seq` grew by `grown` bytes; `None` if the segment is a repetition, which was counted before.
/// Source: `nf_ct_seqadj_set`, Linux 6.1 to 7.2.
fn next(now: SeqAdj, seq: u32, grown: i32) -> Option<SeqAdj> {
    let is_after = i32::from_ne_bytes(seq.wrapping_sub(now.pos).to_ne_bytes()) > 0;
    (now.before == now.after || is_after).then(|| SeqAdj { pos: seq, before: now.after, after: now.after.wrapping_add(grown) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_change_adds_up_and_a_repetition_does_not() {
        let first = next(SeqAdj { pos: 0, before: 0, after: 0 }, 1000, 3).unwrap();
        assert_eq!(first, SeqAdj { pos: 1000, before: 0, after: 3 });
        assert_eq!(next(first, 1000, 3), None);
        assert_eq!(next(first, 1100, -1), Some(SeqAdj { pos: 1100, before: 3, after: 2 }));
    }

    #[test]
    fn positions_are_compared_modulo_two_to_the_32() {
        let now = SeqAdj { pos: u32::MAX - 5, before: 0, after: 2 };
        assert_eq!(next(now, 10, 1), Some(SeqAdj { pos: 10, before: 2, after: 3 }));
    }
}
