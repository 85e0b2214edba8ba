//! Expectations through ctnetlink: created before the verdict, so that an overlap is seen and another port can be tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cthelper_proto::netlink::expect::{self, Expectation, FOLLOW_MASTER, Mask, Nat, PERMANENT};
use cthelper_proto::netlink::message::{Body, flag};
use cthelper_proto::types::Tuple;
use nix::errno::Errno;

use super::socket::Nfnl;
use crate::kernel::{Denied, Wish};

/// Creates it; one that this master has already is as good.
pub(super) fn create(socket: &mut Nfnl, wish: &Wish<'_>) -> Result<(), Denied> {
    let wanted = expectation(wish);
    let created = socket.request(|out, seq| expect::create(out, seq, flag::ACK | flag::CREATE | flag::EXCL, &wanted), |_| ());
    match created.map_err(|refusal| refusal.errno) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if is_ours(socket, &wanted) => Ok(()),
        // EALREADY: the same tuple in another class or of another master.
        Err(Errno::EEXIST | Errno::EBUSY | Errno::EALREADY) => Err(Denied::Busy),
        Err(Errno::EMFILE) => Err(Denied::TableFull),
        Err(Errno::ENOENT | Errno::ESHUTDOWN) => Err(Denied::Gone),
        Err(errno) => Err(Denied::Other(errno)),
    }
}

/// Deletes it; it may have been used or have expired meanwhile.
pub(super) fn delete(socket: &mut Nfnl, wish: &Wish<'_>) {
    let wanted = expectation(wish);
    if let Err(refusal) = socket.request(|out, seq| expect::delete(out, seq, &wanted.tuple, wanted.zone, None), |_| ())
        && refusal.errno != Errno::ENOENT
    {
        tracing::warn!(%refusal, "an expectation could not be withdrawn");
    }
}

/// Whether the expectation in the kernel's table is the one we want: same master, same translation.
fn is_ours(socket: &mut Nfnl, wanted: &Expectation) -> bool {
    let mut ours = false;
    let asked = socket.request(
        |out, seq| expect::get(out, seq, &wanted.tuple, wanted.zone),
        |message| {
            if let Body::Nf { attrs, family, .. } = message.body
                && let Ok(found) = Expectation::parse(attrs, family)
            {
                let same_port = found.nat.map(|nat| nat.port) == wanted.nat.map(|nat| nat.port);
                ours = found.master == wanted.master && found.tuple == wanted.tuple && same_port;
            }
        },
    );
    asked.is_ok() && ours
}

fn expectation(wish: &Wish<'_>) -> Expectation {
    let permit = wish.permit;
    let tuple = Tuple {
        src: permit.src.unwrap_or_else(|| any(permit.dst)),
        dst: permit.dst,
        proto: permit.proto,
        sport: permit.sport.unwrap_or(0),
        dport: wish.port,
    };
    let follows = permit.nat.map(|dir| Nat { dir, addr: None, port: permit.dport });
    Expectation {
        mask: Mask::new(permit.src.is_some(), permit.sport.is_some()),
        flags: if permit.permanent { PERMANENT } else { 0 },
        class: permit.class.into(),
        zone: wish.zone,
        function: follows.map(|_| FOLLOW_MASTER.to_owned()),
        nat: follows,
        ..Expectation::new(tuple, wish.flow.orig)
    }
}

fn any(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}
