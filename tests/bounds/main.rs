//! What a packet may cost, counted and not timed: the worst each protocol allows ([`cthelper_tests::worst`]), at 8, 16, 32 and 64 KiB.
//!
//! `make bench-helpers` times the same packets.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may say what it means")]

use std::alloc::System;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Mutex, PoisonError};

use cthelper_proto::Malformed;
use cthelper_proto::ipc::{Edit, Expect, ExpectId, Grant, PacketHeader, Segment, Settings, Ticket};
use cthelper_proto::manifest::Manifest;
use cthelper_proto::types::{CtInfo, Dir, Flow, FlowId, L4, State, Tuple};
use cthelper_tests::worst::{LONGEST, Worst, all};
use cthelper_worker::helper::{Cx, Framing, Helper, Judge, MAX_ASKS, Refused};
use cthelper_worker::helpers;
use cthelper_worker::serve::Server;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What is allocated is the whole process's: one test at a time, and what the harness allocates meanwhile is left out by looking again.
static ALONE: Mutex<()> = Mutex::new(());
const LOOKS: usize = 5;

/// Bytes that reading a packet may allocate in all, freed ones included: for each of the payload's bytes, and besides.
const PER_BYTE: usize = 2;
const BESIDES: usize = 8 << 10;
/// Bytes of the largest message that may be shown twice: what earlier segments held of it.
const CARRIED: usize = 8 << 10;
/// What a worker may allocate after it has sealed itself, less what its channels take (`policy/src/confine/seal.rs`).
const HEAP: usize = 24 << 20;

/// Counts what the helper is shown.
struct Counted {
    helper: Box<dyn Helper>,
    shown: Rc<Cell<(usize, usize)>>,
}

impl Helper for Counted {
    fn manifest(&self) -> &'static Manifest {
        self.helper.manifest()
    }

    fn framing(&self, l4: L4) -> Framing {
        self.helper.framing(l4)
    }

    fn message(&mut self, cx: &mut Cx<'_>, message: &[u8]) -> Result<(), Malformed> {
        let (messages, bytes) = self.shown.get();
        self.shown.set((messages + 1, bytes + message.len()));
        self.helper.message(cx, message)
    }

    fn overlong(&mut self, cx: &mut Cx<'_>, head: &[u8]) {
        let (messages, bytes) = self.shown.get();
        self.shown.set((messages + 1, bytes + head.len()));
        self.helper.overlong(cx, head);
    }

    fn wants_whole(&self, cx: &Cx<'_>, partial: &[u8]) -> bool {
        self.helper.wants_whole(cx, partial)
    }
}

/// Grants everything, at another port, and counts.
#[derive(Default)]
struct Counter {
    asks: usize,
}

impl Judge for Counter {
    fn expect(&mut self, _: Ticket, expect: &Expect) -> Result<Grant, Refused> {
        self.asks += 1;
        Ok(Grant { id: ExpectId(1), addr: expect.dst, port: expect.dport ^ 1 })
    }

    fn withdraw(&mut self, _: Ticket, _: ExpectId) {}
}

/// What one packet cost.
#[derive(Clone, Copy, Debug)]
struct Cost {
    payload: usize,
    messages: usize,
    shown: usize,
    asks: usize,
    edits: usize,
    allocated: usize,
}

fn cost(worst: &Worst, longest: usize) -> Cost {
    (0..LOOKS).map(|_| look(worst, longest)).min_by_key(|cost| cost.allocated).unwrap()
}

fn look(worst: &Worst, longest: usize) -> Cost {
    let shown = Rc::new(Cell::new((0, 0)));
    let counted = Rc::clone(&shown);
    let mut judge = Counter::default();
    let mut ready = worst.ready(|helper| Box::new(Counted { helper, shown: counted }), &mut judge);
    let payload = worst.payload(longest);
    judge.asks = 0;
    shown.set((0, 0));
    let region = Region::new(MEMORY);
    let verdict = ready.read(&payload, &mut judge);
    let allocated = region.change().bytes_allocated;
    let (messages, shown) = shown.get();
    Cost { payload: payload.len(), messages, shown, asks: judge.asks, edits: verdict.edits.len(), allocated }
}

#[test]
fn a_packet_costs_no_more_than_its_bytes() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for worst in all() {
        let costs = [8, 16, 32, 64].map(|kib| cost(&worst, (kib << 10).min(LONGEST)));
        for cost in costs {
            let name = format!("{}, {}: {cost:?}", worst.helper, worst.what);
            assert!(cost.asks <= MAX_ASKS && cost.edits <= Edit::MAX, "{name}");
            assert!((cost.messages > 0) == (worst.what != "empty fragments"), "{name}");
            assert!(cost.shown <= cost.payload + CARRIED, "{name}");
            assert!(cost.allocated <= PER_BYTE * cost.payload + BESIDES, "{name}");
        }
        // Twice the bytes, twice the work.
        let [.., half, whole] = costs;
        assert!(whole.allocated <= 2 * half.allocated + BESIDES, "{}, {}: {half:?} {whole:?}", worst.helper, worst.what);
    }
}

#[test]
fn every_helper_has_its_worst() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let known: Vec<_> = all().iter().map(|worst| worst.helper).collect();
    for helper in helpers::all() {
        assert!(known.contains(&&*helper.manifest().name), "{}", helper.manifest().name);
    }
}

/// The beginning of a message in each direction of so many connections, and never an end.
#[test]
fn unfinished_messages_of_any_number_of_connections_fit_into_a_worker() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (name, start) in [("ftp", &b""[..]), ("rpc", &[0x80, 0, 0x7f, 0xff]), ("tns", &[0x7f, 0xff, 0, 0, 5, 0, 0, 0])] {
        let helper = helpers::find(name).unwrap();
        let state = State::zeroed(helper.manifest().state_len);
        let longest = match helper.framing(L4::Tcp) {
            Framing::Lines { max } | Framing::Records { max, .. } => max,
            Framing::Datagram => panic!("{name} joins nothing"),
        };
        let region = Region::new(MEMORY);
        let mut server = Server::new(helper, Settings::default());
        let payload = [start, &vec![b'x'; longest - 1 - start.len()]].concat();
        for id in 0..10_000 {
            for info in [CtInfo::Established, CtInfo::EstablishedReply] {
                let orig = Tuple {
                    src: [10, 0, 1, 2].into(),
                    dst: [10, 0, 2, 2].into(),
                    proto: L4::Tcp.number(),
                    sport: 40_000,
                    dport: 111,
                };
                let flow = Flow { id: FlowId(id), orig, reply: orig.inverse() };
                let tcp = Some(Segment { seq: if info.dir() == Dir::Orig { 1 } else { 9 }, last: false });
                let header = PacketHeader { ticket: Ticket(1), flow, info, state: Some(state), tcp };
                server.packet(&header, &payload, &mut Counter::default());
            }
        }
        let change = region.change();
        let held = change.bytes_allocated - change.bytes_deallocated;
        assert!(held <= HEAP, "{name}: {held} bytes are held for {} connections", server.flows());
    }
}
