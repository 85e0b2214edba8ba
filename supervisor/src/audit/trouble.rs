//! What could not be kept: counted always, said when it begins and when it is over.

use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};

/// The counts, shared by the handles and the writing thread.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    lost: AtomicU64,
    unwritten: AtomicU64,
    journal: AtomicU64,
}

impl Trouble {
    /// A record found no room before the writing thread.
    pub(super) fn lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    /// A record is not in the file.
    pub(super) fn unwritten(&self) {
        self.unwritten.fetch_add(1, Ordering::Relaxed);
    }

    /// A record is not in the journal.
    pub(super) fn not_in_journal(&self) {
        self.journal.fetch_add(1, Ordering::Relaxed);
    }

    /// Those that are not 0.
    pub(super) fn counts(&self) -> Vec<(&'static str, u64)> {
        let counts = [("audit-lost", &self.lost), ("audit-unwritten", &self.unwritten), ("journal-lost", &self.journal)];
        counts.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed))).filter(|(_, count)| *count > 0).collect()
    }
}

/// Says that something does not work, and that it works again, each once.
#[derive(Debug)]
pub(crate) struct Said {
    what: &'static str,
    remedy: &'static str,
    /// Failures since it last worked.
    failures: u64,
}

impl Said {
    /// About `what`, as it stands in the log: `the audit log`; `remedy` = what the operator can do.
    pub(crate) fn about(what: &'static str, remedy: &'static str) -> Self {
        Self { what, remedy, failures: 0 }
    }

    /// It did not work; whether this is news.
    pub(crate) fn failed(&mut self, place: &dyn Display, reason: &dyn Display) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_news = self.failures == 1;
        if is_news {
            let Self { what, remedy, .. } = self;
            tracing::error!(%place, %reason, "{what} cannot be written; serving goes on, and what is missing is counted; {remedy}");
        }
        is_news
    }

    /// It worked; whether this is news.
    pub(crate) fn worked(&mut self, place: &dyn Display) -> bool {
        let missing = std::mem::take(&mut self.failures);
        if missing > 0 {
            tracing::warn!(%place, missing, "{} can be written again", self.what);
        }
        missing > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_said_when_it_begins_and_when_it_is_over() {
        let mut said = Said::about("the audit log", "make room");
        let told =
            [said.worked(&"f"), said.failed(&"f", &"full"), said.failed(&"f", &"full"), said.worked(&"f"), said.worked(&"f")];
        assert_eq!(told, [false, true, false, true, false]);
        assert!(said.failed(&"f", &"full"));
    }

    #[test]
    fn only_what_happened_is_counted() {
        let trouble = Trouble::default();
        assert_eq!(trouble.counts(), []);
        trouble.unwritten();
        trouble.unwritten();
        trouble.not_in_journal();
        assert_eq!(trouble.counts(), [("audit-unwritten", 2), ("journal-lost", 1)]);
    }
}
