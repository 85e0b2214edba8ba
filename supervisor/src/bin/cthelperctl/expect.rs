//! `expect`: the kernel's expectations, in the lines of `conntrack -L expect` and `conntrack -E expect`, and taking them back.

mod show;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use cthelper_proto::netlink::expect;
use cthelper_proto::netlink::name;
use cthelper_proto::netlink::report::Moment;
use cthelper_proto::types::Tuple;
use cthelper_supervisor::cli::ctl::expect::{Expect, Layer3, Show, Which};
use cthelper_supervisor::kernel::netfilter::socket::Nfnl;
use cthelper_supervisor::stderr::tell;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::exit::{Exit, Failure};
use show::Form;

/// Multicast group of creations (`NFNLGRP_CONNTRACK_EXP_NEW`).
const GROUP_NEW: u32 = 4;
/// Multicast group of ends (`NFNLGRP_CONNTRACK_EXP_DESTROY`).
const GROUP_DESTROY: u32 = 6;
/// Room for some ten thousand events, bytes: a flood ends sooner than it is printed.
const BUFFER: usize = 4 << 20;

/// Does what is asked. `watch` ends by a signal or with its reader.
pub fn run(wanted: &Expect, out: &mut dyn Write) -> Result<(), Failure> {
    let form = match wanted {
        Expect::List(show) | Expect::Watch(show) => show::form(show)?,
        _ => Form::Lines,
    };
    let mut socket = Nfnl::open().map_err(|errno| refused("open a netfilter socket", errno))?;
    match wanted {
        Expect::List(show) => list(&mut socket, show, form, out),
        Expect::Watch(show) => watch(&mut socket, show, form, out),
        Expect::Delete(which) => delete(&mut socket, which),
        Expect::Flush => {
            socket.request(expect::flush, |_| ()).map_err(|refusal| refused("take the expectations back", refusal.errno))?;
            tell("cthelperctl: expectation table has been emptied.");
            Ok(())
        }
    }
}

fn refused(doing: &str, errno: Errno) -> Failure {
    let words = |hint: &str| format!("cannot {doing}: {}{hint}", errno.desc());
    match errno {
        Errno::EPERM | Errno::EACCES => Failure::new(Exit::Permission, words("; it needs CAP_NET_ADMIN, try sudo")),
        Errno::EINVAL => Failure::new(Exit::Unavailable, words("; is nf_conntrack_netlink there? see cthelperctl doctor")),
        Errno::ENOENT => Failure::new(Exit::NoInput, format!("cannot {doing}: there is none")),
        _ => Failure::new(Exit::Unavailable, words("")),
    }
}

/// `AF_INET`, `AF_INET6`, or 0 for both.
fn family(show: &Show) -> u8 {
    match show.family {
        None => 0,
        Some(Layer3::Inet) => 2,
        Some(Layer3::Inet6) => 10,
    }
}

/// The time of day, microseconds.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

fn list(socket: &mut Nfnl, show: &Show, form: Form, out: &mut dyn Write) -> Result<(), Failure> {
    let mut lines = Vec::new();
    socket
        .request(|out, seq| expect::dump(out, seq, family(show)), |message| lines.extend(form.line(message, 0, now())))
        .map_err(|refusal| refused("list the expectations", refusal.errno))?;
    let (head, tail) = if lines.is_empty() { ("", "") } else { form.frame() };
    out.write_all(head.as_bytes())?;
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    out.write_all(tail.as_bytes())?;
    tell(format_args!("cthelperctl: {} expectations have been shown.", lines.len()));
    Ok(())
}

/// Set when somebody wants it to end; `recv` returns then, because it has a timeout (signal(7)).
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Failure::new(Exit::Software, format!("cannot wait for signals: {error}")))?;
    }
    Ok(flag)
}

fn watch(socket: &mut Nfnl, show: &Show, form: Form, out: &mut dyn Write) -> Result<(), Failure> {
    let end = interrupted()?;
    // Without CAP_NET_ADMIN the group below is refused anyway; in a user namespace the buffer stays as it is.
    let _ = setsockopt(&*socket, sockopt::RcvBufForce, &BUFFER);
    for group in [GROUP_NEW, GROUP_DESTROY] {
        socket.join(group).map_err(|errno| refused("watch the expectations", errno))?;
    }
    let (mut shown, (head, tail)) = (0_u64, form.frame());
    while !end.load(Ordering::Relaxed) {
        let mut lines = Vec::new();
        match socket.events(|message| lines.extend(form.line(message, family(show), now()))) {
            Ok(_) => {}
            Err(Errno::ENOBUFS) => tell("cthelperctl: events came faster than they were read; some are lost"),
            Err(errno) => return Err(refused("watch the expectations", errno)),
        }
        for line in &lines {
            if shown == 0 {
                out.write_all(head.as_bytes())?;
            }
            writeln!(out, "{line}")?;
            shown += 1;
        }
        out.flush()?;
    }
    if shown > 0 {
        out.write_all(tail.as_bytes())?;
    }
    tell(format_args!("cthelperctl: {shown} expectation events have been shown."));
    Ok(())
}

fn delete(socket: &mut Nfnl, which: &Which) -> Result<(), Failure> {
    let answer = match (&which.helper, which.protocol, which.from, which.to) {
        (Some(helper), ..) => {
            if !(1..=15).contains(&name::bytes(helper).len()) {
                return Err(Failure::new(Exit::Usage, format!("'{helper}' is no helper's name: 1 to 15 characters")));
            }
            socket.request(|out, seq| expect::delete_of_helper(out, seq, helper), |_| ())
        }
        (None, Some(proto), Some(from), Some(to)) => {
            if from.is_ipv4() != to.is_ipv4() {
                return Err(Failure::new(Exit::Usage, format!("{from} and {to} are not of one family")));
            }
            let tuple = Tuple { src: from.ip(), dst: to.ip(), proto, sport: from.port(), dport: to.port() };
            socket.request(|out, seq| expect::delete(out, seq, &tuple, which.zone, None), |_| ())
        }
        _ => return Err(Failure::new(Exit::Usage, "say --helper NAME, or PROTOCOL FROM TO")),
    };
    answer.map_err(|refusal| refused("take the expectation back", refusal.errno))
}

#[cfg(test)]
mod tests;
