//! `/proc/net/netfilter/nfnetlink_queue`: one line per bound queue of this network namespace.

use std::fs;
use std::io;
use std::path::Path;

use cthelper_supervisor::keeper::ledger::{Life, Served};

const FOLDER: &str = "/proc/net/netfilter";

/// One bound queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its number.
    pub number: u32,
    /// The netlink port id of the socket that has it.
    pub port_id: u32,
    /// `NFQNL_COPY_*`: 0 none (packets are dropped), 1 headers, 2 packets.
    copy_mode: u32,
    /// Packets that found it full.
    full: u64,
    /// Packets that found its reader's buffer full.
    unsent: u64,
}

impl Queue {
    /// Whether its socket is one that a dead supervisor left: somebody holds it, and nobody reads it.
    pub fn is_of(&self, estate: &Life) -> bool {
        let same = |served: &Served| u32::from(served.queue) == self.number && served.port_id == self.port_id;
        estate.queues.iter().any(same)
    }

    /// Whether packets reach the reader.
    pub fn hands_out_packets(&self) -> bool {
        self.copy_mode != 0
    }

    /// Packets that were dropped or let pass for want of room.
    pub fn lost(&self) -> u64 {
        self.full.saturating_add(self.unsent)
    }
}

/// The queues bound now, or in words why they are not known. Without the file there is no queue subsystem, and so no queue.
pub fn bound() -> Result<Vec<Queue>, String> {
    let file = Path::new(FOLDER).join("nfnetlink_queue");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new(FOLDER).is_dir() => Ok(Vec::new()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

/// The queues in the file's text; a line that cannot be read is left out.
/// Columns: number, port id, waiting, copy mode, copy range, full, unsent, last id, 1.
pub fn parse(text: &str) -> Vec<Queue> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Queue> {
    let mut columns = line.split_whitespace();
    Some(Queue {
        number: columns.next()?.parse().ok()?,
        port_id: columns.next()?.parse().ok()?,
        copy_mode: columns.nth(1)?.parse().ok()?,
        full: columns.nth(1)?.parse().ok()?,
        unsent: columns.next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_read() {
        let text =
            "    6  31277     0 2 65531     3     4      812  1\n  100   4711     0 0     0     0     0        0  1\nodd\n\n";
        let [six, hundred] = &parse(text)[..] else { panic!() };
        assert_eq!((six.number, six.port_id, six.lost(), six.hands_out_packets()), (6, 31277, 7, true));
        assert_eq!((hundred.number, hundred.lost(), hundred.hands_out_packets()), (100, 0, false));
    }
}
