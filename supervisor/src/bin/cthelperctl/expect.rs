//! `expect list|watch`: the kernel's expectations, in the lines of `conntrack -L expect` and `conntrack -E expect`.

use std::io::Write;

use cthelper_proto::netlink::conntrack::Event;
use cthelper_proto::netlink::expect::{self, Expectation};
use cthelper_proto::netlink::message::{Body, Message, op, subsystem};
use cthelper_supervisor::cli::ctl::expect::Show;
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;
use nix::errno::Errno;

use crate::exit::{Exit, Failure};
use crate::text::printable;

/// Multicast group of creations (`NFNLGRP_CONNTRACK_EXP_NEW`).
const GROUP_NEW: u32 = 4;
/// Multicast group of ends (`NFNLGRP_CONNTRACK_EXP_DESTROY`).
const GROUP_DESTROY: u32 = 6;

/// Prints them. `watch` ends only by a signal or with its reader.
pub fn run(show: Show, out: &mut dyn Write) -> Result<(), Failure> {
    let mut socket = Nfnl::open().map_err(|errno| refused("open a netfilter socket", errno))?;
    match show {
        Show::List => list(&mut socket, out),
        Show::Watch => watch(&mut socket, out),
    }
}

fn refused(doing: &str, errno: Errno) -> Failure {
    let words = |hint: &str| format!("cannot {doing}: {}{hint}", errno.desc());
    match errno {
        Errno::EPERM | Errno::EACCES => Failure::new(Exit::Permission, words("; it needs CAP_NET_ADMIN, try sudo")),
        Errno::EINVAL => Failure::new(Exit::Unavailable, words("; is nf_conntrack_netlink there? see cthelperctl doctor")),
        _ => Failure::new(Exit::Unavailable, words("")),
    }
}

/// The expectation in a message, and whether the message removes it.
fn read(message: &Message<'_>) -> Option<(Expectation, Event)> {
    let Body::Nf { subsystem: subsystem::EXPECT, op, family, attrs, .. } = message.body else { return None };
    let event = if op == op::DELETE { Event::Destroy } else { Event::New };
    Some((Expectation::parse(attrs, family).ok()?, event))
}

fn list(socket: &mut Nfnl, out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = Vec::new();
    socket
        .request(
            |out, seq| expect::dump(out, seq, 0),
            |message| {
                lines.extend(read(message).map(|(expectation, _)| printable(&expectation.to_string())));
            },
        )
        .map_err(|refusal| refused("list the expectations", refusal.errno))?;
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    eprintln!("cthelperctl: {} expectations have been shown.", lines.len());
    Ok(())
}

fn watch(socket: &mut Nfnl, out: &mut dyn Write) -> Result<(), Failure> {
    for group in [GROUP_NEW, GROUP_DESTROY] {
        socket.join(group).map_err(|errno| refused("watch the expectations", errno))?;
    }
    loop {
        let mut lines = Vec::new();
        let received = socket.events(|message| {
            lines.extend(read(message).map(|(expectation, event)| printable(&expectation.event_line(event))));
        });
        match received {
            Ok(_) => {}
            Err(Errno::ENOBUFS) => eprintln!("cthelperctl: events came faster than they were read; some are lost"),
            Err(errno) => return Err(refused("watch the expectations", errno)),
        }
        for line in &lines {
            writeln!(out, "{line}")?;
        }
        out.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use cthelper_proto::netlink::message::messages;
    use cthelper_proto::types::Tuple;

    use super::*;

    #[test]
    fn events_print_as_conntrack_prints_them() {
        let tuple = |src: [u8; 4], dst: [u8; 4], sport, dport| Tuple { src: src.into(), dst: dst.into(), proto: 6, sport, dport };
        let mut expectation =
            Expectation::new(tuple([10, 0, 1, 2], [10, 0, 2, 2], 0, 3000), tuple([10, 0, 1, 2], [10, 0, 2, 2], 40000, 21));
        expectation.timeout = Some(300);
        expectation.helper = Some("ftp".to_owned());
        let mut bytes = Vec::new();
        expect::create(&mut bytes, 1, 0, &expectation);
        let message = messages(&bytes).next().unwrap().unwrap();
        let (read, event) = read(&message).unwrap();
        assert_eq!(event, Event::New);
        let line = "    [NEW] 300 proto=6 src=10.0.1.2 dst=10.0.2.2 sport=0 dport=3000 mask-src=255.255.255.255 \
                    mask-dst=255.255.255.255 sport=0 dport=65535 master-src=10.0.1.2 master-dst=10.0.2.2 sport=40000 dport=21 \
                    class=0 helper=ftp";
        assert_eq!(read.event_line(event), line);
        bytes[4] = op::DELETE;
        let message = messages(&bytes).next().unwrap().unwrap();
        assert_eq!(super::read(&message).unwrap().1, Event::Destroy);
    }

    #[test]
    fn missing_privilege_is_told_from_missing_support() {
        assert_eq!(refused("x", Errno::EPERM).exit, Exit::Permission);
        assert_eq!(refused("x", Errno::EINVAL).exit, Exit::Unavailable);
    }
}
