//! Packets that were in a worker's hands when it ended: each a small pcap that Wireshark opens and `cthelperd replay` replays.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// Files kept in one life of the supervisor; a flood of crashes must not fill a disk.
const FILES: u64 = 256;
/// Link type of a packet that begins with its IP header (`LINKTYPE_RAW`).
const RAW_IP: u32 = 101;

/// A folder for such packets, or none.
#[derive(Clone, Debug, Default)]
pub struct Quarantine {
    folder: Option<PathBuf>,
    kept: u64,
}

impl Quarantine {
    /// Keeps packets in `folder`, which must exist.
    pub fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, kept: 0 }
    }

    /// Keeps a packet of the helper; returns its file.
    pub fn keep(&mut self, helper: &str, packet: &[u8]) -> Option<PathBuf> {
        let folder = self.folder.as_ref()?;
        if self.kept >= FILES {
            return None;
        }
        self.kept += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let path = folder.join(format!("{helper}-{}-{}.pcap", now.as_secs(), self.kept));
        match write(&path, packet, now.as_secs(), now.subsec_micros()) {
            Ok(()) => Some(path),
            Err(error) => {
                tracing::warn!(%error, path = %path.display(), "the packet in hand could not be kept");
                None
            }
        }
    }
}

/// One packet in the classic pcap format (draft-ietf-opsawg-pcap), in this machine's byte order, microseconds.
fn write(path: &PathBuf, packet: &[u8], seconds: u64, micros: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o640).open(path)?;
    let length = u32::try_from(packet.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut bytes = Vec::with_capacity(40 + packet.len());
    bytes.extend(0xa1b2_c3d4_u32.to_ne_bytes());
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend(4_u16.to_ne_bytes());
    for word in [0, 0, 65_535, RAW_IP, u32::try_from(seconds).unwrap_or(u32::MAX), micros, length, length] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(packet);
    file.write_all(&bytes)
}
