//! What the kernel is to deliver to the broker's event socket at all: a classic BPF program (`SO_ATTACH_FILTER`), made of all queues' filters
//! and of what the mirror needs.
//!
//! It is run for each event before the message is queued (`net/netlink/af_netlink.c:do_one_broadcast`), and saves the broker what nobody
//! wants. It may let through too much, never too little: what cannot be told from the message alone (a helper at the end of a connection,
//! labels, zones, the other direction's tuple) counts as wanted, and expectations all pass. The broker judges what arrives as if there
//! were no program.
//!
//! | file | is |
//! |---|---|
//! | `condition` | what can be looked up in a message, and what must be true of it |
//! | `program` | conditions as instructions |
//! | `../filter/told.rs` | a queue's filter as a condition |

use cthelper_proto::netlink::conntrack::status;
use cthelper_proto::netlink::report::Kind;

use crate::config::{QueueConfig, Select};
use crate::events::Needs;

pub(crate) mod condition;
mod program;

pub use program::Op;

use condition::{Attribute, Condition};

/// Longest program, instructions. The kernel's is two or three times as long, 8 bytes each, and counts against `net.core.optmem_max`, which
/// is 20 KiB on Linux 6.1.
const LONGEST: usize = 768;

/// The program for these queues; `flows`: the mirror shows the connections that have a helper. `None`: all is wanted.
pub fn program(queues: &[&QueueConfig], flows: bool) -> Option<Vec<Op>> {
    let conditions = |coarse| {
        [Kind::New, Kind::Update, Kind::Destroy].map(|kind| {
            let of_queues = queues.iter().map(|queue| wanted(queue, kind, coarse));
            Condition::any(of_queues.chain(flows.then(|| has_helper(kind))))
        })
    };
    // Many and long filters are left to the broker.
    [false, true].into_iter().map(|coarse| program::assemble(&conditions(coarse))).find(|made| {
        let length = made.as_ref().map_or(0, Vec::len);
        length <= LONGEST
    })?
}

/// When an event of this kind may belong into the queue, or tells what the queue's filter must know of later ones.
fn wanted(queue: &QueueConfig, kind: Kind, coarse: bool) -> Condition {
    let itself = if !queue.kinds.has(kind) {
        Condition::Never
    } else if coarse {
        Condition::Always
    } else {
        let select = match queue.select {
            Some(Select::Mark(mark)) => condition::mark(mark),
            Some(Select::Label(_)) | None => Condition::Always,
        };
        Condition::all([select, queue.filter.told(kind)])
    };
    let Needs { helper, labels } = queue.needs();
    let of_helper = helper.then(|| has_helper(kind));
    let of_labels = labels.then(|| or_end(kind, Condition::has(Attribute::Labels)));
    Condition::any([itself].into_iter().chain(of_helper).chain(of_labels))
}

/// A connection that has a helper, or was announced; its end does not say so.
fn has_helper(kind: Kind) -> Condition {
    or_end(kind, Condition::any([Condition::has(Attribute::Help), condition::status(status::EXPECTED | status::HELPER)]))
}

fn or_end(kind: Kind, told: Condition) -> Condition {
    if kind == Kind::Destroy { Condition::Always } else { told }
}

#[cfg(test)]
pub(crate) mod tests;
