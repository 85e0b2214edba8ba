//! Queue numbers: which are taken, which to take, and what the kernel lost on one. Read from `/proc/net/netfilter/nfnetlink_queue`
//! (columns of `nfnetlink_queue.c:seq_show`, Linux 6.1 to 7.2).

use nix::errno::Errno;

use crate::kernel::Fault;

const PROC: &str = "/proc/net/netfilter/nfnetlink_queue";
/// The first number tried where nothing is configured; far from 0, which every hand-written rule uses.
const FIRST: u16 = 6200;
/// How many numbers are tried.
const TRIED: u16 = 256;

/// One bound queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its number.
    pub queue: u16,
    /// The netlink port id of the socket that has it.
    pub port_id: u32,
    /// Packets in it.
    pub waiting: u64,
    /// What it lost.
    pub lost: Losses,
    /// The id of the last packet that was put into it, or would have been had there been room.
    pub last_id: u32,
}

/// Packets that could not be handed over; with `FAIL_OPEN` they passed without the helper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The queue was full.
    pub queue_full: u64,
    /// The socket's buffer was full.
    pub socket_full: u64,
}

/// The queues bound in this network namespace; empty where the kernel has no such file.
pub fn bound() -> Vec<Bound> {
    std::fs::read_to_string(PROC).unwrap_or_default().lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Bound> {
    let mut columns = line.split_ascii_whitespace().map(|column| column.parse::<u64>().ok());
    let mut next = || columns.next().flatten();
    let (queue, port_id, waiting, _mode, _range) = (next()?, next()?, next()?, next()?, next()?);
    let lost = Losses { queue_full: next()?, socket_full: next()? };
    let last_id = u32::try_from(next()?).ok()?;
    Some(Bound { queue: u16::try_from(queue).ok()?, port_id: u32::try_from(port_id).ok()?, waiting, lost, last_id })
}

/// What the kernel lost on this queue.
pub fn losses(queue: u16) -> Losses {
    bound().into_iter().find(|bound| bound.queue == queue).map(|bound| bound.lost).unwrap_or_default()
}

/// The number of an earlier life if nobody has it now, else the first that is free.
pub fn choose(before: Option<u16>) -> Result<u16, Fault> {
    let taken = bound();
    let is_free = |number: &u16| !taken.iter().any(|bound| bound.queue == *number);
    before
        .into_iter()
        .chain(FIRST..FIRST + TRIED)
        .find(is_free)
        .ok_or_else(|| Fault::new("choose a queue", Errno::EBUSY).remedy("set `queue` in the configuration"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_kernel_is_read_by_its_columns() {
        let line = "   6200   1953     3 2 65531     7     9        42  1";
        let bound = parse(line).unwrap();
        assert_eq!((bound.queue, bound.port_id, bound.waiting, bound.last_id), (6200, 1953, 3, 42));
        assert_eq!(bound.lost, Losses { queue_full: 7, socket_full: 9 });
        assert_eq!(parse("6200 1953"), None);
    }
}
