//! The journal's native protocol (systemd's "Native Journal Protocol" document): a datagram of fields to journald's socket.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cthelper_proto::events::Record;

use super::entry::{self, Entry};
use super::trouble::{Said, Trouble};

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";

/// Our end.
pub(super) struct Journal {
    socket: UnixDatagram,
    place: PathBuf,
    trouble: Arc<Trouble>,
    said: Said,
}

impl Journal {
    /// To the journal at `place`, which need not be there yet: each entry looks for it anew.
    pub(super) fn open(place: &Path, trouble: Arc<Trouble>) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        let said = Said::about("the journal", "start journald, or turn this off with --journal none");
        Ok(Self { socket, place: place.to_owned(), trouble, said })
    }

    /// Sends a record; `text` is its line in the audit log. An entry that does not fit into journald's buffer now is lost and counted.
    pub(super) fn send(&mut self, record: &Record, text: &str) {
        match self.socket.send_to(&datagram(&entry::of(&record.event), text), &self.place) {
            Ok(_) => drop(self.said.worked(&self.place.display())),
            Err(error) => {
                self.trouble.not_in_journal();
                self.said.failed(&self.place.display(), &error);
            }
        }
    }
}

/// The fields of an entry.
fn datagram(entry: &Entry<'_>, record: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(record.len() + 512);
    let mut field = |name: &str, value: &str| push(&mut out, name, value);
    field("MESSAGE", &entry.message);
    field("MESSAGE_ID", entry.id);
    field("PRIORITY", &(entry.priority as u8).to_string());
    field("SYSLOG_IDENTIFIER", "cthelperd");
    field("CTHELPER_EVENT", entry.event);
    if let Some(helper) = entry.helper {
        field("CTHELPER", helper);
    }
    if let Some((pid, generation)) = entry.worker {
        field("CTHELPER_PID", &pid.to_string());
        if let Some(generation) = generation {
            field("CTHELPER_GENERATION", &generation.to_string());
        }
    }
    if let Some(crash) = entry.crash {
        field("CTHELPER_CRASH", &crash.id);
        field("CTHELPER_CAUSE", &crash.cause);
        field("CTHELPER_LOG", &crash.log);
    }
    field("CTHELPER_RECORD", record);
    out
}

/// `NAME=value`, or where the value has lines: `NAME`, its length as 64 bits little-endian, the value.
fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend(name.as_bytes());
    if value.contains('\n') {
        out.push(b'\n');
        out.extend(u64::try_from(value.len()).unwrap_or(u64::MAX).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend(value.as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use cthelper_proto::events::Event;

    use super::super::entry::tests::{crash, every_event};
    use super::super::{Audit, Places};
    use super::*;

    fn socket(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cthelperd-journal-{name}-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    /// Reads the protocol a second, plainer way.
    fn fields(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        while !bytes.is_empty() {
            let at = bytes.iter().position(|byte| b"=\n".contains(byte)).unwrap();
            let name = text(&bytes[..at]);
            let (value, rest) = if bytes[at] == b'=' {
                let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
                (&bytes[at + 1..end], &bytes[end..])
            } else {
                let length = u64::from_le_bytes(*bytes[at + 1..].first_chunk().unwrap());
                bytes[at + 9..].split_at(length.try_into().unwrap())
            };
            assert_eq!(rest[0], b'\n');
            assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{name}");
            assert_eq!(fields.insert(name, text(value)), None);
            bytes = &rest[1..];
        }
        fields
    }

    fn receive(journal: &UnixDatagram) -> BTreeMap<String, String> {
        let mut buffer = vec![0; 1 << 20];
        journal.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = journal.recv(&mut buffer).unwrap();
        fields(&buffer[..length])
    }

    #[test]
    fn an_entry_can_be_searched_by_helper_event_process_and_crash() {
        let place = socket("entry");
        let journald = UnixDatagram::bind(&place).unwrap();
        let (audit, writer) = Audit::open(&Places { log: None, journal: Some(place.clone()) }).unwrap();
        audit.write(Event::WorkerCrashed(Box::new(crash())));
        let fields = receive(&journald);
        for (name, value) in [
            ("CTHELPER", "ftp"),
            ("CTHELPER_EVENT", "worker_crashed"),
            ("CTHELPER_PID", "412"),
            ("CTHELPER_GENERATION", "3"),
            ("CTHELPER_CRASH", "ftp-19a000000ff-3"),
            ("CTHELPER_LOG", "first\nlast"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "cthelperd"),
            ("MESSAGE_ID", "e3df1b1658184ed895eea497cc77c3f4"),
            (
                "MESSAGE",
                "helper ftp: worker 412 ended: signal SIGSYS (system call 41 socket); restart after 0 ms; crash ftp-19a000000ff-3",
            ),
        ] {
            assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name}");
        }
        assert!(fields["CTHELPER_RECORD"].contains(r#""event":"worker_crashed""#));
        drop(audit);
        writer.finish();
        std::fs::remove_file(place).unwrap();
    }

    #[test]
    fn every_event_makes_a_whole_entry() {
        for event in every_event() {
            let fields = fields(&datagram(&entry::of(&event), "{}"));
            assert!(["MESSAGE", "MESSAGE_ID", "PRIORITY", "CTHELPER_EVENT"].iter().all(|name| fields.contains_key(*name)));
        }
    }

    #[test]
    fn an_absent_journal_is_counted_and_one_that_comes_is_found() {
        let place = socket("absent");
        let trouble = Arc::new(Trouble::default());
        let mut journal = Journal::open(&place, trouble.clone()).unwrap();
        let record = Record { time: 1.0, event: Event::Stopped };
        journal.send(&record, "{}");
        journal.send(&record, "{}");
        assert_eq!(trouble.counts(), [("journal-lost", 2)]);
        let journald = UnixDatagram::bind(&place).unwrap();
        journal.send(&record, "{}");
        assert_eq!(receive(&journald)["CTHELPER_EVENT"], "stopped");
        assert_eq!(trouble.counts(), [("journal-lost", 2)]);
        std::fs::remove_file(place).unwrap();
    }

    #[test]
    fn a_journal_that_does_not_read_holds_nobody_up() {
        let place = socket("deaf");
        let _deaf = UnixDatagram::bind(&place).unwrap();
        let trouble = Arc::new(Trouble::default());
        let mut journal = Journal::open(&place, trouble.clone()).unwrap();
        let record = Record { time: 1.0, event: Event::Stopped };
        (0..5000).for_each(|_| journal.send(&record, "{}"));
        assert!(trouble.counts()[0].1 > 1000);
        std::fs::remove_file(place).unwrap();
    }
}
