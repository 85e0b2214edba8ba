//! Expectations through ctnetlink: created before the verdict, so that an overlap is seen and another port can be tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cthelper_proto::netlink::expect::{self, Expectation, FOLLOW_MASTER, Mask, Nat, PERMANENT};
use cthelper_proto::netlink::message::{Body, flag};
use cthelper_proto::types::Tuple;
use nix::errno::Errno;

use super::socket::Nfnl;
use crate::kernel::{Denied, Made, Wish};

/// Creates it. One that this master has already is as good; a permanent one of a class with this `timeout` begins anew.
pub(super) fn create(socket: &mut Nfnl, wish: &Wish<'_>, timeout: Option<u32>) -> Result<(), Denied> {
    let wanted = expectation(wish);
    let created = socket.request(|out, seq| expect::create(out, seq, flag::ACK | flag::CREATE | flag::EXCL, &wanted), |_| ());
    match created.map_err(|refusal| refusal.errno) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) if is_ours(socket, &wanted) => {
            if wish.permit.permanent {
                let refreshed = Expectation { timeout, ..wanted };
                let _ = socket.request(|out, seq| expect::create(out, seq, flag::ACK | flag::CREATE, &refreshed), |_| ());
            }
            Ok(())
        }
        // EALREADY: the same tuple in another class or of another master.
        Err(Errno::EEXIST | Errno::EBUSY | Errno::EALREADY) => Err(Denied::Busy),
        Err(Errno::EMFILE) => Err(Denied::TableFull),
        Err(Errno::ENOENT | Errno::ESHUTDOWN) => Err(Denied::Gone),
        Err(errno) => Err(Denied::Other(errno)),
    }
}

/// The expectation as it goes out beside a verdict, for a connection that gets this helper.
pub(super) fn beside(wish: &Wish<'_>, helper: Option<&str>) -> Expectation {
    Expectation { helper: helper.map(str::to_owned), ..expectation(wish) }
}

/// Gives an expectation that is there another time to live than its class has in the kernel.
pub(super) fn prolong(socket: &mut Nfnl, wish: &Wish<'_>, timeout: u32) {
    let wanted = Expectation { timeout: Some(timeout), ..expectation(wish) };
    if let Err(refusal) = socket.request(|out, seq| expect::create(out, seq, flag::ACK, &wanted), |_| ()) {
        tracing::debug!(%refusal, "an expectation keeps the timeout of another helper's class");
    }
}

/// The announced connection, as its first packet shows it.
pub(super) fn announced(wish: &Wish<'_>) -> Tuple {
    expectation(wish).tuple
}

/// Whether the table has nothing in the way of it. A table that is full, or an overlap that only the masks tell, is seen afterwards.
pub(super) fn may_be_made(socket: &mut Nfnl, wish: &Wish<'_>) -> Result<(), Denied> {
    let wanted = expectation(wish);
    match find(socket, &wanted) {
        Some(found) if !same(&found, &wanted) => Err(Denied::Busy),
        _ => Ok(()),
    }
}

/// What became of one that went out beside a verdict, whose errors the kernel keeps to itself (`nfqnl_recv_verdict`, Linux 5.10 to 7.2).
pub(super) fn made(socket: &mut Nfnl, wanted: &Expectation) -> Result<Made, Denied> {
    match find(socket, wanted) {
        Some(found) if same(&found, wanted) => Ok(Made::Seen),
        Some(_) => Err(Denied::Busy),
        None if wanted.flags & PERMANENT != 0 => Err(Denied::Other(Errno::ENOENT)),
        None => Ok(Made::Unseen),
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
    find(socket, wanted).is_some_and(|found| same(&found, wanted))
}

fn same(found: &Expectation, wanted: &Expectation) -> bool {
    let port = |expectation: &Expectation| expectation.nat.map(|nat| nat.port);
    found.master == wanted.master && found.tuple == wanted.tuple && port(found) == port(wanted)
}

/// The expectation that a connection with this tuple would fulfil.
fn find(socket: &mut Nfnl, wanted: &Expectation) -> Option<Expectation> {
    let mut found = None;
    let asked = socket.request(
        |out, seq| expect::get(out, seq, &wanted.tuple, wanted.zone),
        |message| {
            if let Body::Nf { attrs, family, .. } = message.body {
                found = Expectation::parse(attrs, family).ok();
            }
        },
    );
    asked.ok().and(found)
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
    let follows = permit.nat.map(|dir| Nat { dir, addr: None, port: permit.saved });
    Expectation {
        mask: Mask::new(permit.src.is_some(), permit.sport.is_some()),
        flags: if permit.permanent { PERMANENT } else { 0 },
        class: wish.counted_as.unwrap_or(permit.class).into(),
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
