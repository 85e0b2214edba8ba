//! What can be looked up in a message, and what must be true of it.

use crate::events::filter::Mark;

/// A place in a message about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// Of the original tuple: the protocol's number.
    Proto,
    /// Source port, or a key of GRE; ICMP and others have none.
    Sport,
    /// Destination port, likewise.
    Dport,
    /// IPv4 source.
    V4Src,
    /// IPv4 destination.
    V4Dst,
    /// IPv6 source.
    V6Src,
    /// IPv6 destination.
    V6Dst,
    /// `CTA_STATUS`.
    Status,
    /// `CTA_MARK`; not there: 0.
    Mark,
    /// `CTA_HELP`.
    Help,
    /// `CTA_LABELS`.
    Labels,
}

/// How many bytes are compared, in network order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Width {
    One,
    Two,
    Four,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// The message's family is this.
    Family(u8),
    /// The message has it.
    Has(Attribute),
    /// The number `skip` bytes into it, under the mask, is `first` to `last`. False where the attribute is missing.
    Within { of: Attribute, skip: u8, width: Width, mask: u32, first: u32, last: u32 },
    /// One of these bits is set.
    Bits { of: Attribute, bits: u32 },
}

/// What must be true of a message. In normal form: `All` and `Any` have two parts at least, none of them `Always` or `Never`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Never,
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Is(Check),
    IsNot(Check),
}

impl Condition {
    pub(crate) fn has(of: Attribute) -> Self {
        Self::Is(Check::Has(of))
    }

    /// The whole of a number: `first` to `last`.
    pub(crate) fn within(of: Attribute, width: Width, first: u32, last: u32) -> Self {
        Self::Is(Check::Within { of, skip: 0, width, mask: u32::MAX, first, last })
    }

    /// All of them; of none: always.
    pub(crate) fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut kept = Vec::new();
        for part in parts {
            match part {
                Self::Always => {}
                Self::Never => return Self::Never,
                Self::All(parts) => kept.extend(parts),
                part => kept.push(part),
            }
        }
        match kept.len() {
            0 => Self::Always,
            1 => kept.remove(0),
            _ => Self::All(kept),
        }
    }

    /// Any of them; of none: never.
    pub(crate) fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        Self::all(parts.into_iter().map(Self::not)).not()
    }

    /// The opposite.
    pub(crate) fn not(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::All(parts) => Self::Any(parts.into_iter().map(Self::not).collect()),
            Self::Any(parts) => Self::All(parts.into_iter().map(Self::not).collect()),
            Self::Is(check) => Self::IsNot(check),
            Self::IsNot(check) => Self::Is(check),
        }
    }

    /// As it is, or its opposite.
    pub(crate) fn be(self, so: bool) -> Self {
        if so { self } else { self.not() }
    }

    /// Everything that is looked at, as it stands there.
    pub(super) fn checks(&self) -> Vec<Check> {
        match self {
            Self::Always | Self::Never => Vec::new(),
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::checks).collect(),
            Self::Is(check) | Self::IsNot(check) => vec![*check],
        }
    }
}

/// The connection's mark is this one.
pub(crate) fn mark(mark: Mark) -> Condition {
    let (of, first, last) = (Attribute::Mark, mark.value(), mark.value());
    let told = Condition::Is(Check::Within { of, skip: 0, width: Width::Four, mask: mark.mask(), first, last });
    if mark.is(0) { Condition::any([Condition::has(Attribute::Mark).not(), told]) } else { told }
}

/// One of these bits of the status is set.
pub(crate) fn status(bits: u32) -> Condition {
    Condition::Is(Check::Bits { of: Attribute::Status, bits })
}
