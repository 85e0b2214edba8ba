//! A filter as text that reads back as the same filter.

use std::fmt::{self, Display, Formatter};

use super::words::{self, FIELDS, FLAGS, Field, PROTOCOLS};
use super::{Expr, Mark, Net, Span, Test};

pub(super) fn expr(f: &mut Formatter<'_>, expr: &Expr) -> fmt::Result {
    match expr {
        Expr::Or(parts) => joined(f, parts, " or ", self::expr),
        Expr::And(parts) => joined(f, parts, " and ", tight),
        Expr::Not(part) => {
            f.write_str("not ")?;
            tight(f, part)
        }
        Expr::Is(test) => self::test(f, test),
    }
}

/// In parentheses where it would fall apart.
fn tight(f: &mut Formatter<'_>, part: &Expr) -> fmt::Result {
    match part {
        Expr::And(_) | Expr::Or(_) => {
            f.write_str("(")?;
            expr(f, part)?;
            f.write_str(")")
        }
        Expr::Not(_) | Expr::Is(_) => expr(f, part),
    }
}

fn test(f: &mut Formatter<'_>, test: &Test) -> fmt::Result {
    let field = match test {
        Test::Flag(flag) => return f.write_str(words::word(&FLAGS, flag).unwrap_or_default()),
        Test::Event(_) => Field::Event,
        Test::Family(_) => Field::Family,
        Test::Proto(_) => Field::Proto,
        Test::State(_) => Field::State,
        Test::Addr(place, _) => Field::Addr(*place),
        Test::Port(place, _) => Field::Port(*place),
        Test::Zone(zone, _) => Field::Zone(*zone),
        Test::Mark(_) => Field::Mark,
        Test::Label(_) => Field::Label,
        Test::Helper(_) => Field::Helper,
    };
    write!(f, "{} ", words::word(&FIELDS, &field).unwrap_or_default())?;
    match test {
        Test::Flag(_) => Ok(()),
        Test::Event(kinds) => list(f, kinds.iter()),
        Test::Family(families) => list(f, families),
        Test::Proto(protos) => joined(f, protos, ",", |f, proto| match words::word(&PROTOCOLS, proto) {
            Some(word) => f.write_str(word),
            None => write!(f, "{proto}"),
        }),
        Test::State(states) => list(f, states),
        Test::Addr(_, nets) => list(f, nets),
        Test::Port(_, spans) | Test::Zone(_, spans) => list(f, spans),
        Test::Mark(marks) => list(f, marks),
        Test::Label(labels) => list(f, labels),
        Test::Helper(helpers) => list(f, helpers),
    }
}

fn list(f: &mut Formatter<'_>, values: impl IntoIterator<Item = impl Display>) -> fmt::Result {
    joined(f, values, ",", |f, value| value.fmt(f))
}

fn joined<T>(
    f: &mut Formatter<'_>,
    values: impl IntoIterator<Item = T>,
    between: &str,
    mut show: impl FnMut(&mut Formatter<'_>, T) -> fmt::Result,
) -> fmt::Result {
    for (place, value) in values.into_iter().enumerate() {
        f.write_str(if place == 0 { "" } else { between })?;
        show(f, value)?;
    }
    Ok(())
}

impl Display for Net {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(addr, length) if *length == super::eval::width(*addr) => addr.fmt(f),
            Self::Prefix(addr, length) => write!(f, "{addr}/{length}"),
            Self::Range(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self(first, last) if first == last => first.fmt(f),
            Self(first, last) => write!(f, "{first}-{last}"),
        }
    }
}

impl Display for Mark {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self { value, mask: u32::MAX } => write!(f, "{value:#x}"),
            Self { value, mask } => write!(f, "{value:#x}/{mask:#x}"),
        }
    }
}
