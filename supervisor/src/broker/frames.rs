//! One event as its subscribers want it: made once for each look, shared by all.

use std::rc::Rc;

use cthelper_proto::events_sock::{Format, Notice};
use cthelper_proto::netlink::report::{Moment, Report};

/// How a subscriber's events look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    pub(super) format: Format,
    /// Text with the time.
    pub(super) timestamp: bool,
}

/// The looks of one event.
pub(super) struct Frames<'a> {
    report: &'a Report<'a>,
    raw: &'a [u8],
    received: Moment,
    made: [Option<Rc<[u8]>>; 4],
}

impl<'a> Frames<'a> {
    /// Of a report, and of the message it was read from.
    pub(super) fn new(report: &'a Report<'a>, raw: &'a [u8], received: Moment) -> Self {
        Self { report, raw, received, made: [const { None }; 4] }
    }

    /// As this subscriber wants it.
    pub(super) fn of(&mut self, look: Look) -> Rc<[u8]> {
        let at = match (look.format, look.timestamp) {
            (Format::Text, false) => 0,
            (Format::Text, true) => 1,
            (Format::Json, _) => 2,
            (Format::Raw, _) => 3,
        };
        if let Some(Some(made)) = self.made.get(at) {
            return made.clone();
        }
        let made: Rc<[u8]> = self.make(look).into();
        if let Some(place) = self.made.get_mut(at) {
            *place = Some(made.clone());
        }
        made
    }

    fn make(&self, look: Look) -> Vec<u8> {
        match look.format {
            Format::Text => format!("{}\n", self.report.line(self.received, look.timestamp)).into_bytes(),
            Format::Json => line(serde_json::to_vec(&self.report.json(self.received)).unwrap_or_default()),
            Format::Raw => {
                let mut raw = self.raw.to_vec();
                raw.resize(raw.len().next_multiple_of(4), 0);
                raw
            }
        }
    }
}

/// A notice in this format.
pub(super) fn notice(notice: Notice, format: Format) -> Rc<[u8]> {
    let bytes = match format {
        Format::Text => format!("{notice}\n").into_bytes(),
        Format::Json => line(serde_json::to_vec(&notice).unwrap_or_default()),
        Format::Raw => {
            let mut raw = Vec::new();
            notice.write_raw(&mut raw);
            raw
        }
    };
    bytes.into()
}

fn line(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

/// The messages of a datagram as they lie there; one whose length is wrong ends them.
pub(super) fn split(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok().filter(|length| *length >= 16)?;
        let message = rest.get(..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}
