//! Conditions as a program for the kernel's classic BPF machine (`linux/filter.h`; `net/core/filter.c:bpf_check_classic` says what it takes).
//!
//! ```text
//! subsystem, operation, flags   → the part for NEW, UPDATE or DESTROY; anything else is accepted
//! part: each attribute needed   → its offset into a word of scratch memory, 0 = not there
//!       the condition           → accept or drop
//! ```
//! Attributes are found by the kernel's own walk over them (`SKF_AD_NLATTR`, `SKF_AD_NLATTR_NEST`). All jumps lead forward.

use std::collections::BTreeSet;

use cthelper_proto::netlink::conntrack::{CTA_HELP, CTA_MARK, CTA_STATUS, CTA_TUPLE_ORIG};
use cthelper_proto::netlink::entry::CTA_LABELS;
use cthelper_proto::netlink::message::{flag, op, subsystem};
use cthelper_proto::netlink::tuple::{
    IP_V4_DST, IP_V4_SRC, IP_V6_DST, IP_V6_SRC, PROTO_DST_PORT, PROTO_NUM, PROTO_SRC_PORT, TUPLE_IP, TUPLE_PROTO,
};
use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IMM, BPF_IND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_LD,
    BPF_LDX, BPF_MEM, BPF_RET, BPF_ST, BPF_W, SKF_AD_NLATTR, SKF_AD_NLATTR_NEST, SKF_AD_OFF,
};

use super::condition::{Attribute, Check, Condition, Width};

/// One instruction, a `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What it does.
    pub code: u16,
    /// Instructions to skip if a test is true.
    pub jt: u8,
    /// And if not.
    pub jf: u8,
    /// Its number.
    pub k: u32,
}

/// Where the bytes of `nlmsghdr.type` stand: the low one is the operation, the high one the subsystem.
const OP: u32 = if cfg!(target_endian = "little") { 4 } else { 5 };
const SUBSYSTEM: u32 = if cfg!(target_endian = "little") { 5 } else { 4 };
/// `nlmsghdr.flags`, in the host's order; a load takes it for network order.
const FLAGS: u32 = 6;
const CREATE: u32 = if cfg!(target_endian = "little") { flag::CREATE.swap_bytes() as u32 } else { flag::CREATE as u32 };
/// `nfgenmsg.family`.
const FAMILY: u32 = 16;
/// The first attribute: behind `nlmsghdr` and `nfgenmsg`.
const ATTRIBUTES: u32 = 20;
/// Of an attribute.
const HEADER: u32 = 4;

/// A program for the conditions of NEW, UPDATE and DESTROY; `None` if each is always true.
pub(super) fn assemble(conditions: &[Condition; 3]) -> Option<Vec<Op>> {
    if conditions.iter().all(|condition| *condition == Condition::Always) {
        return None;
    }
    let mut program = Program::default();
    let [new, update, destroy] = [(); 3].map(|()| program.label());
    program.header(new, update, destroy);
    for (label, condition) in [new, update, destroy].into_iter().zip(conditions) {
        program.steps.push(Step::Here(label));
        program.part(condition);
    }
    program.steps.extend([Step::Here(ACCEPT), Step::Do(BPF_RET, u32::MAX), Step::Here(DROP), Step::Do(BPF_RET, 0)]);
    Some(program.finish())
}

/// A place in the program.
type Label = usize;
const ACCEPT: Label = 0;
const DROP: Label = 1;

/// An instruction, or a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Do(u32, u32),
    Test { how: u32, k: u32, yes: Label, no: Label },
    Jump(Label),
    Here(Label),
}

#[derive(Debug)]
struct Program {
    steps: Vec<Step>,
    labels: usize,
}

impl Default for Program {
    fn default() -> Self {
        Self { steps: Vec::new(), labels: 2 }
    }
}

/// Where offsets are kept: words of scratch memory.
const ORIG: u32 = 13;
const L4: u32 = 14;
const IP: u32 = 15;

fn slot(of: Attribute) -> u32 {
    match of {
        Attribute::Proto => 0,
        Attribute::Sport => 1,
        Attribute::Dport => 2,
        Attribute::V4Src => 3,
        Attribute::V4Dst => 4,
        Attribute::V6Src => 5,
        Attribute::V6Dst => 6,
        Attribute::Status => 7,
        Attribute::Mark => 8,
        Attribute::Help => 9,
        Attribute::Labels => 10,
    }
}

/// Its number, and the word with the nest that it stands in.
fn kind(of: Attribute) -> (u16, Option<u32>) {
    match of {
        Attribute::Proto => (PROTO_NUM, Some(L4)),
        Attribute::Sport => (PROTO_SRC_PORT, Some(L4)),
        Attribute::Dport => (PROTO_DST_PORT, Some(L4)),
        Attribute::V4Src => (IP_V4_SRC, Some(IP)),
        Attribute::V4Dst => (IP_V4_DST, Some(IP)),
        Attribute::V6Src => (IP_V6_SRC, Some(IP)),
        Attribute::V6Dst => (IP_V6_DST, Some(IP)),
        Attribute::Status => (CTA_STATUS, None),
        Attribute::Mark => (CTA_MARK, None),
        Attribute::Help => (CTA_HELP, None),
        Attribute::Labels => (CTA_LABELS, None),
    }
}

impl Program {
    fn label(&mut self) -> Label {
        self.labels += 1;
        self.labels - 1
    }

    fn act(&mut self, code: u32, k: u32) {
        self.steps.push(Step::Do(code, k));
    }

    /// `yes` if the accumulator compares so with `k`.
    fn test(&mut self, how: u32, k: u32, yes: Label, no: Label) {
        self.steps.push(Step::Test { how, k, yes, no });
    }

    /// As `test`; goes on behind it if it does.
    fn test_or(&mut self, how: u32, k: u32, no: Label) {
        let next = self.label();
        self.test(how, k, next, no);
        self.steps.push(Step::Here(next));
    }

    /// Which kind of event it is.
    fn header(&mut self, new: Label, update: Label, destroy: Label) {
        self.act(BPF_LD | BPF_B | BPF_ABS, SUBSYSTEM);
        self.test_or(BPF_JEQ, subsystem::CONNTRACK.into(), ACCEPT);
        self.act(BPF_LD | BPF_B | BPF_ABS, OP);
        let other = self.label();
        self.test(BPF_JEQ, op::DELETE.into(), destroy, other);
        self.steps.push(Step::Here(other));
        self.test_or(BPF_JEQ, op::NEW.into(), ACCEPT);
        self.act(BPF_LD | BPF_H | BPF_ABS, FLAGS);
        self.test(BPF_JSET, CREATE, new, update);
    }

    /// For one kind of event.
    fn part(&mut self, condition: &Condition) {
        let needed: BTreeSet<Attribute> = condition.checks().into_iter().filter_map(attribute).collect();
        let nests: BTreeSet<u32> = needed.iter().filter_map(|of| kind(*of).1).collect();
        if !nests.is_empty() {
            self.find(CTA_TUPLE_ORIG, None, ORIG, true);
        }
        for nest in nests {
            self.find(if nest == L4 { TUPLE_PROTO } else { TUPLE_IP }, Some(ORIG), nest, true);
        }
        for of in needed {
            let (number, nest) = kind(of);
            self.find(number, nest, slot(of), is_always_there(of));
        }
        self.condition(condition, ACCEPT, DROP);
    }

    /// Leaves the attribute's offset in a word. One that must be there and is not makes a message that the broker is to look at.
    fn find(&mut self, number: u16, nest: Option<u32>, word: u32, must: bool) {
        let (begin, walk) = match nest {
            Some(nest) => ((BPF_LD | BPF_MEM, nest), SKF_AD_NLATTR_NEST),
            None => ((BPF_LD | BPF_IMM, ATTRIBUTES), SKF_AD_NLATTR),
        };
        self.act(begin.0, begin.1);
        self.act(BPF_LDX | BPF_IMM, number.into());
        self.act(BPF_LD | BPF_W | BPF_ABS, (SKF_AD_OFF + walk).cast_unsigned());
        if must {
            let there = self.label();
            self.test(BPF_JEQ, 0, ACCEPT, there);
            self.steps.push(Step::Here(there));
        }
        self.act(BPF_ST, word);
    }

    fn condition(&mut self, condition: &Condition, yes: Label, no: Label) {
        match condition {
            Condition::Always => self.steps.push(Step::Jump(yes)),
            Condition::Never => self.steps.push(Step::Jump(no)),
            Condition::Is(check) => self.check(check, yes, no),
            Condition::IsNot(check) => self.check(check, no, yes),
            Condition::All(parts) | Condition::Any(parts) => {
                let is_all = matches!(condition, Condition::All(_));
                let (last, before) = parts.split_last().unwrap_or((&Condition::Always, &[]));
                for part in before {
                    let next = self.label();
                    if is_all {
                        self.condition(part, next, no);
                    } else {
                        self.condition(part, yes, next);
                    }
                    self.steps.push(Step::Here(next));
                }
                self.condition(last, yes, no);
            }
        }
    }

    fn check(&mut self, check: &Check, yes: Label, no: Label) {
        match *check {
            Check::Family(family) => {
                self.act(BPF_LD | BPF_B | BPF_ABS, FAMILY);
                self.test(BPF_JEQ, family.into(), yes, no);
            }
            Check::Has(of) => {
                self.act(BPF_LD | BPF_MEM, slot(of));
                self.test(BPF_JEQ, 0, no, yes);
            }
            Check::Bits { of, bits } => {
                self.act(BPF_LDX | BPF_MEM, slot(of));
                self.act(BPF_LD | BPF_W | BPF_IND, HEADER);
                self.test(BPF_JSET, bits, yes, no);
            }
            Check::Within { of, skip, width, mask, first, last } => {
                if !is_always_there(of) {
                    self.act(BPF_LD | BPF_MEM, slot(of));
                    let there = self.label();
                    self.test(BPF_JEQ, 0, no, there);
                    self.steps.push(Step::Here(there));
                }
                self.act(BPF_LDX | BPF_MEM, slot(of));
                self.act(BPF_LD | size(width) | BPF_IND, HEADER + u32::from(skip));
                if mask != u32::MAX {
                    self.act(BPF_ALU | BPF_AND, mask);
                }
                if first == last {
                    return self.test(BPF_JEQ, first, yes, no);
                }
                self.test_or(BPF_JGE, first, no);
                self.test(BPF_JGT, last, no, yes);
            }
        }
    }

    /// Puts distances in the place of labels. A test reaches 255 instructions, a jump all: a test whose label does not follow has a jump
    /// behind it.
    fn finish(self) -> Vec<Op> {
        let mut places = vec![0; self.labels];
        let mut at = 0;
        for (step, next) in self.with_next() {
            match step {
                Step::Here(label) => {
                    if let Some(place) = places.get_mut(label) {
                        *place = at;
                    }
                }
                Step::Do(..) | Step::Jump(_) => at += 1,
                Step::Test { yes, no, .. } => at += if next == Some(yes) || next == Some(no) { 2 } else { 3 },
            }
        }
        let mut ops = Vec::with_capacity(at);
        let distance = |label: Label, from: usize| {
            let there = places.get(label).copied().unwrap_or(at);
            u32::try_from(there.saturating_sub(from + 1)).unwrap_or(u32::MAX)
        };
        for (step, next) in self.with_next() {
            match step {
                Step::Here(_) => {}
                Step::Do(code, k) => ops.push(instruction(code, 0, 0, k)),
                Step::Jump(label) => ops.push(instruction(BPF_JMP | BPF_JA, 0, 0, distance(label, ops.len()))),
                Step::Test { how, k, yes, no } => {
                    let (jt, jf, jumps): (u8, u8, &[Label]) = if next == Some(yes) {
                        (1, 0, &[no])
                    } else if next == Some(no) {
                        (0, 1, &[yes])
                    } else {
                        (0, 1, &[yes, no])
                    };
                    ops.push(instruction(BPF_JMP | how, jt, jf, k));
                    for label in jumps {
                        ops.push(instruction(BPF_JMP | BPF_JA, 0, 0, distance(*label, ops.len())));
                    }
                }
            }
        }
        ops
    }

    /// Each step with the label that follows it at once.
    fn with_next(&self) -> impl Iterator<Item = (Step, Option<Label>)> {
        let following = self.steps.iter().skip(1).map(Some).chain([None]);
        self.steps.iter().zip(following).map(|(step, next)| match next {
            Some(Step::Here(label)) => (*step, Some(*label)),
            _ => (*step, None),
        })
    }
}

fn attribute(check: Check) -> Option<Attribute> {
    match check {
        Check::Family(_) => None,
        Check::Has(of) | Check::Within { of, .. } | Check::Bits { of, .. } => Some(of),
    }
}

/// Events have these; one that does not is for the broker to count as malformed.
fn is_always_there(of: Attribute) -> bool {
    matches!(of, Attribute::Proto | Attribute::Status)
}

fn size(width: Width) -> u32 {
    match width {
        Width::One => BPF_B,
        Width::Two => BPF_H,
        Width::Four => BPF_W,
    }
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> Op {
    Op { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}
