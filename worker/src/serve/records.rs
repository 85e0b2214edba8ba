//! A segment of records on its way through the helper.

use cthelper_proto::Malformed;
use cthelper_proto::ipc::Segment;

use super::{Outcome, Reading, sdk, side};
use crate::flows::Known;
use crate::helper::{Cx, Done, Helper, Place};
use crate::stream::end_of;
use crate::stream::records::{Mark, Record, Records};

impl Reading<'_> {
    pub(super) fn records(self, known: &mut Known, segment: Segment, mark: Mark, max: usize) -> Outcome {
        let (dir, len, framing) = (self.header.info.dir(), self.payload.len(), self.framing);
        let mid_record = sdk::has(&known.state, framing, sdk::mid_message(dir));
        let blind = sdk::has(&known.state, framing, sdk::BLIND);
        let sync = side(&mut known.records, dir);
        let (end, translated) = (end_of(segment.seq, len), self.header.flow.is_translated());
        if blind {
            return Outcome { done: Done::default(), malformed: None, drop_state: false, resend: false };
        }
        if translated && sync.order.is_behind_withheld(segment.seq) && sync.order.may_withhold(segment.seq, end) {
            sync.order.withhold(segment.seq);
            return Outcome { done: Done::default(), malformed: None, drop_state: true, resend: true };
        }
        let mut records = sync.open(segment.seq, self.payload, mid_record, mark, max);
        let (helper, mut cx) = self.cx(&mut known.state);
        let malformed = read_records(helper, &mut cx, &mut records);
        let rest = records.rest();
        if sdk::has(cx.state, framing, sdk::BLIND) {
            return Outcome { done: cx.done, malformed, drop_state: false, resend: false };
        }
        let may_withhold = translated && !segment.last && sync.order.may_withhold(segment.seq, end);
        if let Some(partial) = rest.cut().filter(|_| may_withhold)
            && helper.wants_whole(&cx, partial)
        {
            sync.order.withhold(segment.seq);
            return Outcome { done: cx.done, malformed, drop_state: true, resend: true };
        }
        let drop_state = sync.order.is_repeated(segment.seq, end);
        if sync.order.is_newest(end) {
            sdk::set(cx.state, framing, sdk::mid_message(dir), rest.is_mid_record());
        }
        let done = cx.done;
        sync.close(segment.seq, len, rest);
        Outcome { done, malformed, drop_state, resend: false }
    }
}

/// Hands every record to the helper, until it calls the connection opaque. What is malformed first is reported.
fn read_records(helper: &mut dyn Helper, cx: &mut Cx<'_>, records: &mut Records<'_>) -> Option<Malformed> {
    let mut malformed = None;
    while !sdk::has(cx.state, cx.framing, sdk::BLIND)
        && let Some(found) = records.next_record()
    {
        let read = found.and_then(|Record { message, pieces }| {
            cx.place = Place { len: message.len(), pieces };
            let read = helper.message(cx, &message);
            records.reuse(message, std::mem::take(&mut cx.place.pieces));
            read
        });
        malformed = malformed.or(read.err());
    }
    malformed
}
