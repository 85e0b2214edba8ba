//! `disarm`: what a daemon that was killed could not do any more.
//!
//! A helper that is enabled while nobody holds its queue leaves new connections unconfirmed (`nf_confirm`, Linux 5.10 to 7.2).
//! Disabled, its packets pass. Queues are known for this network namespace only, helpers belong to all of them: this is for the
//! namespace in which they are served.
//!
//! A queue whose socket the keeper or systemd holds for the next daemon is no such case: new connections go on. `--unheld` leaves those
//! alone (that is for the moment before a restart); without it they are wound up too, because no next daemon may come.

use std::io::Write;

use cthelper_proto::netlink::cthelper::{DISABLED, Helper};
use cthelper_supervisor::keeper::ledger::Life;
use nix::errno::Errno;

use crate::exit::{Exit, Failure};
use crate::queues::Queue;
use crate::registry::{Registry, object};
use crate::text::printable;

/// The answer of a kernel in which `nfnetlink_cthelper` is not loaded; with that module go all helpers of user space.
const NO_HELPERS: Errno = Errno::EINVAL;

/// Disables every enabled helper whose queue is not among those `bound`, or is of the `estate`, and says which. Every one is tried; the
/// first refusal is the failure. Where the queues are not known nothing is disabled. A kernel that takes no helpers has none to disable.
pub fn run<R: Registry>(
    open: impl FnOnce() -> Result<R, Errno>,
    bound: impl FnOnce() -> Result<Vec<Queue>, String>,
    estate: &Life,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let mut kernel = match open() {
        Err(Errno::EPROTONOSUPPORT) => return Ok(()),
        opened => opened.map_err(|errno| refused("open netlink", errno))?,
    };
    let helpers: Vec<Helper> = match kernel.list() {
        Err(NO_HELPERS) => return Ok(()),
        listed => listed.map_err(|errno| refused("list the kernel's helpers", errno))?,
    };
    let enabled: Vec<&Helper> = helpers.iter().filter(|helper| helper.status != DISABLED).collect();
    if enabled.is_empty() {
        return Ok(());
    }
    // Asked after the helpers: a daemon that starts now binds its queue first, so none of its helpers is taken for lost.
    let bound = bound().map_err(|why| Failure::new(Exit::Unavailable, format!("which queues are served is not known: {why}")))?;
    let mut outcome = Ok(());
    for helper in enabled {
        let why = match bound.iter().find(|queue| queue.number == helper.queue) {
            None => "nobody serves",
            Some(queue) if queue.is_of(estate) => "no daemon serves",
            Some(_) => continue,
        };
        let who = object(helper);
        match kernel.disable(&helper.name, (helper.family, helper.l4)) {
            Ok(()) => writeln!(out, "{}: disabled, {why} its queue {}", printable(&who), helper.queue)?,
            // The kernel's word for a helper that is gone by now.
            Err(Errno::EINVAL) => {}
            Err(errno) => outcome = outcome.and(Err(refused(&format!("disable {who}"), errno))),
        }
    }
    outcome
}

fn refused(doing: &str, errno: Errno) -> Failure {
    match errno {
        Errno::EPERM | Errno::EACCES => Failure::new(Exit::Permission, format!("{doing}: {}; run it as root", errno.desc())),
        _ => Failure::new(Exit::Unavailable, format!("{doing}: {}", errno.desc())),
    }
}

#[cfg(test)]
mod tests {
    use cthelper_supervisor::keeper::ledger::Served;

    use super::*;
    use crate::queues::parse;
    use crate::registry::fake::{Fake, helper};

    const SEVEN: &str = "7 31277 0 2 65531 0 0 812 1";

    fn disarm(kernel: &mut Fake, queues: &str) -> Result<String, Failure> {
        let mut out = Vec::new();
        run(|| Ok(kernel), || Ok(parse(queues)), &Life::default(), &mut out).map(|()| String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_helper_whose_queue_is_only_held_is_disabled_if_the_socket_is_a_dead_supervisors() {
        let served = |port_id| Served { helper: "sip".to_owned(), queue: 7, port_id };
        for (port_id, expected) in [(31_277, "sip (inet udp): disabled, no daemon serves its queue 7\n"), (4711, "")] {
            let estate = Life { queues: vec![served(port_id)], ..Life::default() };
            let mut kernel = Fake { helpers: vec![helper("sip", 2, 17)], ..Fake::default() };
            let mut out = Vec::new();
            run(|| Ok(&mut kernel), || Ok(parse(SEVEN)), &estate, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    fn states(kernel: &Fake) -> Vec<u32> {
        kernel.helpers.iter().map(|helper| helper.status).collect()
    }

    #[test]
    fn helpers_whose_queue_nobody_holds_are_disabled_and_no_other() {
        let off = Helper { queue: 9, status: DISABLED, ..helper("off", 2, 6) };
        let lost = [2, 10].map(|family| Helper { queue: 8, ..helper("ftp", family, 6) });
        let [ipv4, ipv6] = lost;
        let mut kernel = Fake { helpers: vec![helper("sip", 2, 17), ipv4, ipv6, off], ..Fake::default() };
        let said = disarm(&mut kernel, SEVEN).unwrap();
        let expected =
            "ftp (inet tcp): disabled, nobody serves its queue 8\nftp (inet6 tcp): disabled, nobody serves its queue 8\n";
        assert_eq!((said.as_str(), states(&kernel)), (expected, vec![1, DISABLED, DISABLED, DISABLED]));
        assert_eq!(disarm(&mut kernel, SEVEN).unwrap(), "");
    }

    #[test]
    fn a_host_without_queues_has_all_disabled() {
        let mut kernel = Fake { helpers: vec![helper("odd", 0, 132), helper("sip", 2, 17)], ..Fake::default() };
        assert!(disarm(&mut kernel, "").unwrap().starts_with("odd (any family protocol 132): disabled"));
        assert_eq!(states(&kernel), [DISABLED, DISABLED]);
    }

    #[test]
    fn nothing_is_disabled_where_the_queues_are_not_known() {
        let mut kernel = Fake { helpers: vec![helper("sip", 2, 17)], ..Fake::default() };
        let failure = run(|| Ok(&mut kernel), || Err("no /proc".to_owned()), &Life::default(), &mut Vec::new()).unwrap_err();
        assert_eq!((failure.exit, states(&kernel)), (Exit::Unavailable, vec![1]));
    }

    #[test]
    fn nothing_to_disable_is_done_whether_or_not_the_queues_are_known() {
        let off = Helper { status: DISABLED, ..helper("off", 2, 6) };
        for mut kernel in [Fake::default(), Fake { helpers: vec![off], ..Fake::default() }] {
            assert_eq!(run(|| Ok(&mut kernel), || Err("no /proc".to_owned()), &Life::default(), &mut Vec::new()), Ok(()));
        }
    }

    #[test]
    fn a_kernel_that_takes_no_helpers_has_nothing_to_disable() {
        let mut kernel = Fake { broken: Some(Errno::EINVAL), helpers: vec![helper("sip", 2, 17)], ..Fake::default() };
        assert_eq!(disarm(&mut kernel, SEVEN).as_deref(), Ok(""));
        let no_netfilter = || -> Result<&mut Fake, Errno> { Err(Errno::EPROTONOSUPPORT) };
        assert_eq!(run(no_netfilter, || Ok(Vec::new()), &Life::default(), &mut Vec::new()), Ok(()));
    }

    #[test]
    fn a_kernel_that_refuses_is_reported() {
        for (errno, exit) in [(Errno::EPERM, Exit::Permission), (Errno::ENOBUFS, Exit::Unavailable)] {
            let mut kernel = Fake { broken: Some(errno), ..Fake::default() };
            assert_eq!(disarm(&mut kernel, SEVEN).unwrap_err().exit, exit);
        }
    }
}
