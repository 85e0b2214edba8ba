//! The forms in which expectations are shown.

use cthelper_proto::netlink::expect::xml;
use cthelper_proto::netlink::message::Message;
use cthelper_proto::netlink::report::{Moment, Report};
use cthelper_supervisor::cli::ctl::expect::{Format, Show};

use crate::exit::{Exit, Failure};
use crate::text::printable;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// conntrack's.
    Lines,
    /// With the time before them.
    Stamped,
    /// conntrack's XML.
    Xml,
    /// An object each.
    Json,
}

/// The form that is asked for.
pub fn form(show: &Show) -> Result<Form, Failure> {
    match (show.json, show.output.contains(&Format::Xml), show.output.contains(&Format::Timestamp)) {
        (true, ..) => Ok(Form::Json),
        (_, true, true) => Err(Failure::new(Exit::Usage, "xml and timestamp: not both; --json has the time")),
        (_, true, false) => Ok(Form::Xml),
        (_, false, true) => Ok(Form::Stamped),
        _ => Ok(Form::Lines),
    }
}

impl Form {
    /// What stands before the first and after the last.
    pub fn frame(self) -> (&'static str, &'static str) {
        if self == Self::Xml { (xml::HEAD, xml::TAIL) } else { ("", "") }
    }

    /// A message's expectation, if it has one of this family (0 = any). conntrack does not name the program behind an event here.
    pub fn line(self, message: &Message<'_>, family: u8, received: Moment) -> Option<String> {
        let report = Report::parse(message).ok()??;
        let expectation = report.expectation()?;
        if family != 0 && family != of(expectation.tuple.src) {
            return None;
        }
        let anonymous = Report { port_id: 0, ..report.clone() };
        Some(match self {
            Self::Lines => printable(&anonymous.line(received, false).to_string()),
            Self::Stamped => {
                let line = anonymous.line(received, true).to_string();
                let (time, rest) = line.split_once('\t')?;
                format!("{time}\t{}", printable(rest))
            }
            Self::Xml => expectation.xml(report.event).to_string(),
            Self::Json => serde_json::to_string(&report.json(received)).ok()?,
        })
    }
}

fn of(addr: std::net::IpAddr) -> u8 {
    cthelper_proto::types::Family::of(addr).number()
}
