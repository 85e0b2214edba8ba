//! A broker to be measured, and those who read from it.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use cthelper_tests::binaries::binary;
use cthelper_tests::eventually;
use cthelper_tests::office::Served;
use cthelper_tests::tally::Tally;

pub(super) struct Broker {
    served: Served,
    pub(super) pid: u32,
}

impl Broker {
    /// With these event queues.
    pub(super) fn start(queues: &str) -> Self {
        let served = Served::by(&binary("cthelperd"), queues);
        let pid = served.broker().pid;
        Self { served, pid }
    }

    pub(super) fn end(self) {
        self.served.end();
    }

    /// Where its socket is.
    pub(super) fn folder(&self) -> &Path {
        self.served.socket.parent().unwrap()
    }

    pub(super) fn metric(&self, name: &str) -> u64 {
        self.served.figure(name)
    }

    /// Waits until it has so many subscribers.
    pub(super) fn has_subscribers(&self, wanted: u64) {
        eventually("all subscribers", || (self.metric("cthelperd_broker_subscribers ") == wanted).then_some(()));
    }

    /// Readers of a queue, each on a thread of its own.
    pub(super) fn readers(&self, queue: u16, count: u64) -> Readers {
        let over = Arc::new(AtomicBool::new(false));
        let readers = (0..count).map(|_| {
            let mut stream = self.served.connect();
            stream.write_all(format!("{{\"queue\":{queue},\"format\":\"text\"}}\n").as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let (tally, over) = (Arc::new(Mutex::new(Tally::default())), over.clone());
            let thread = std::thread::spawn({
                let tally = tally.clone();
                move || read(stream, &tally, &over)
            });
            (thread, tally)
        });
        let readers = readers.collect();
        self.has_subscribers(count);
        Readers { over, readers }
    }
}

fn read(mut stream: UnixStream, tally: &Mutex<Tally>, over: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    while !over.load(Ordering::Relaxed) {
        if let Ok(length) = stream.read(&mut buffer) {
            tally.lock().unwrap().take(&buffer[..length]);
        }
    }
}

pub(super) struct Readers {
    over: Arc<AtomicBool>,
    readers: Vec<(JoinHandle<()>, Arc<Mutex<Tally>>)>,
}

impl Readers {
    /// What all of them got so far.
    pub(super) fn tally(&self) -> Tally {
        self.readers.iter().fold(Tally::default(), |sum, (_, tally)| sum.and(&tally.lock().unwrap()))
    }

    pub(super) fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for (thread, _) in self.readers {
            thread.join().unwrap();
        }
    }
}
