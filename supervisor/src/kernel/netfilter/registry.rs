//! The kernel's registry of user-space helpers. It is global to the machine, outlives us, and is never emptied by us: rules may
//! refer to what is in it, and on Linux 7.x a helper deleted and made anew leaves them with a dead object.

use std::path::Path;

use cthelper_proto::manifest::Manifest;
use cthelper_proto::netlink::cthelper::{self, DISABLED, ENABLED, Helper, Policy};
use cthelper_proto::netlink::message::{Body, flag};
use cthelper_proto::types::{Family, L4};
use nix::errno::Errno;

use super::numbers;
use super::socket::{Nfnl, Refusal};
use crate::kernel::Fault;

/// The answer to a change of an object that is not there: the kernel takes it for a new one, of which half is missing.
const NOT_THERE: Errno = Errno::EINVAL;

/// Every user-space helper the kernel knows.
pub fn helpers(socket: &mut Nfnl) -> Result<Vec<Helper>, Fault> {
    let mut found = Vec::new();
    let dumped = socket.request(cthelper::dump, |message| {
        if let Body::Nf { attrs, .. } = message.body
            && let Ok(helper) = Helper::parse(attrs)
        {
            found.push(helper);
        }
    });
    match dumped {
        Ok(()) => Ok(found),
        Err(refusal) => Err(explain("list the kernel's helpers", &refusal)),
    }
}

/// The queue an earlier life of ours registered the helper with, so that a restart changes nothing for the kernel.
pub fn queue_before(socket: &mut Nfnl, name: &str) -> Option<u16> {
    let helper = helpers(socket).ok()?.into_iter().find(|helper| helper.name == name)?;
    u16::try_from(helper.queue).ok().filter(|queue| *queue != 0)
}

/// Registers or updates the helper for each family and protocol of its manifest, enabled. The queue must be bound and configured already.
pub fn enable(socket: &mut Nfnl, manifest: &Manifest, queue: u16) -> Result<(), Fault> {
    for helper in objects(manifest, queue, ENABLED) {
        let registered = socket.request(|out, seq| cthelper::register(out, seq, flag::ACK | flag::CREATE, &helper), |_| ());
        if let Err(refusal) = registered {
            // What is enabled already must not stay so without anybody at its queue.
            let _ = disable(socket, manifest);
            return Err(clash(&format!("register helper {}", helper.name), &helper, &refusal));
        }
    }
    Ok(())
}

/// Gives the helper's objects the manifest's limits, the queue and the status; one that somebody deleted is made anew, which no rule knows.
pub fn update(socket: &mut Nfnl, manifest: &Manifest, queue: u16, enabled: bool) -> Result<(), Fault> {
    let status = if enabled { ENABLED } else { DISABLED };
    for helper in objects(manifest, queue, status) {
        socket
            .request(|out, seq| cthelper::register(out, seq, flag::ACK, &helper), |_| ())
            .map_err(|refusal| clash(&format!("change helper {}", helper.name), &helper, &refusal))?;
    }
    Ok(())
}

/// From now on the helper's connections pass as if it were not there, and are confirmed. Returns whether the kernel has all its objects;
/// of one that somebody deleted there is nothing to disable: connections pass without it already.
pub fn disable(socket: &mut Nfnl, manifest: &Manifest) -> Result<bool, Fault> {
    let mut outcome = Ok(true);
    for (family, l4) in protocols(manifest) {
        // Every object is tried, whatever became of the one before.
        let found = disable_object(socket, &manifest.name, family.number().into(), l4.number());
        outcome = outcome.and_then(|all| found.map(|found| all && found));
    }
    outcome
}

/// Whether there is one.
fn disable_object(socket: &mut Nfnl, name: &str, l3: u16, l4: u8) -> Result<bool, Fault> {
    match socket.request(|out, seq| cthelper::set_status(out, seq, name, l3, l4, false), |_| ()) {
        Ok(()) => Ok(true),
        Err(refusal) if refusal.errno == NOT_THERE => Ok(false),
        Err(refusal) => Err(explain(&format!("disable helper {name}"), &refusal)),
    }
}

/// Refuses a helper that another program serves: it is enabled, and somebody holds its queue, whose socket is not `ours` (a port id).
pub fn refuse_if_served(socket: &mut Nfnl, name: &str, ours: Option<u32>) -> Result<(), Fault> {
    let bound: Vec<_> = numbers::bound().into_iter().filter(|bound| Some(bound.port_id) != ours).collect();
    let served = helpers(socket)?
        .into_iter()
        .filter(|helper| helper.name == name && helper.status == ENABLED)
        .find_map(|helper| bound.iter().find(|bound| u32::from(bound.queue) == helper.queue).copied());
    match served {
        None => Ok(()),
        Some(bound) => Err(Fault::new(format!("register helper {name}"), Errno::EBUSY).remedy(format!(
            "another program serves it (queue {}, netlink port {}): stop that first (conntrackd?)",
            bound.queue, bound.port_id
        ))),
    }
}

/// Whether the kernel sends packets of this helper to a queue; also if it does not say.
pub fn is_enabled(socket: &mut Nfnl, name: &str) -> bool {
    helpers(socket).map_or(true, |helpers| helpers.iter().any(|helper| helper.name == name && helper.status == ENABLED))
}

/// Disables every object of this name, of whatever family, so that none stays enabled without anybody at its queue.
pub fn disarm(socket: &mut Nfnl, name: &str) -> Result<(), Fault> {
    disarm_if(socket, name, |_| true)
}

/// Disables the objects of this name that the manifest does not have: nobody serves that family or protocol any more.
pub fn disarm_besides(socket: &mut Nfnl, manifest: &Manifest) -> Result<(), Fault> {
    let served = |helper: &Helper| {
        protocols(manifest).any(|(family, l4)| (helper.family, helper.l4) == (family.number().into(), l4.number()))
    };
    disarm_if(socket, &manifest.name, |helper| !served(helper))
}

fn disarm_if(socket: &mut Nfnl, name: &str, is_meant: impl Fn(&Helper) -> bool) -> Result<(), Fault> {
    let left = helpers(socket)?.into_iter().filter(|helper| helper.name == name && helper.status == ENABLED);
    for helper in left.filter(is_meant) {
        disable_object(socket, &helper.name, helper.family, helper.l4)?;
    }
    Ok(())
}

/// What the helper is registered for, an object each; all have the same queue.
fn protocols(manifest: &Manifest) -> impl Iterator<Item = (Family, L4)> {
    manifest.families.iter().flat_map(|family| manifest.l4s.iter().map(|l4| (*family, l4)))
}

fn objects(manifest: &Manifest, queue: u16, status: u32) -> impl Iterator<Item = Helper> {
    let classes: Vec<Policy> = manifest
        .classes
        .iter()
        .map(|class| Policy {
            name: class.name.clone().into_owned(),
            expect_max: class.expect_max.into(),
            timeout_secs: class.timeout_secs,
        })
        .collect();
    protocols(manifest).map(move |(family, l4)| Helper {
        name: manifest.name.clone().into_owned(),
        family: family.number().into(),
        l4: l4.number(),
        queue: queue.into(),
        classes: classes.clone(),
        state_len: manifest.state_len.into(),
        status,
    })
}

/// The registration's refusals, which have more than one meaning.
fn clash(doing: &str, helper: &Helper, refusal: &Refusal) -> Fault {
    let name = &helper.name;
    let module = format!("nf_conntrack_{}", name.replace('-', "_"));
    let fault = explain(doing, refusal);
    match refusal.errno {
        Errno::EBUSY | Errno::EEXIST if Path::new("/sys/module").join(&module).exists() => fault.remedy(format!(
            "the kernel's own module {module} has this name; take it out: modprobe -r {} {module}",
            module.replace("nf_conntrack", "nf_nat")
        )),
        Errno::EBUSY | Errno::EEXIST => fault.remedy(format!(
            "a helper {name} exists with other classes or private bytes; remove its rules, then: cthelperctl nfct delete helper {name}"
        )),
        _ => fault,
    }
}

/// What the subsystem's errors mean to an operator.
fn explain(doing: &str, refusal: &Refusal) -> Fault {
    let fault = Fault::new(doing, refusal.errno);
    match refusal.errno {
        Errno::EINVAL if refusal.text.is_none() => {
            fault.lacks("the kernel has no user-space helpers: modprobe nfnetlink_cthelper (CONFIG_NF_CT_NETLINK_HELPER)")
        }
        Errno::EPERM => {
            fault.remedy("helpers are registered by root of the host only (CAP_NET_ADMIN in the initial user namespace)")
        }
        _ => match &refusal.text {
            Some(text) => fault.remedy(format!("the kernel says: {text}")),
            None => fault,
        },
    }
}
