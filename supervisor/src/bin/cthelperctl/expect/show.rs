//! The forms in which expectations are shown.

use cthelper_proto::netlink::expect::xml::{self, When};
use cthelper_proto::netlink::message::Message;
use cthelper_proto::netlink::report::{Moment, Report};
use cthelper_supervisor::cli::ctl::expect::{Format, Show};
use jiff::Timestamp;
use jiff::tz::TimeZone;

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
    /// With the local time in each element.
    StampedXml,
    /// An object each.
    Json,
}

/// The form that is asked for.
pub fn form(show: &Show) -> Result<Form, Failure> {
    let wants = |format| show.output.contains(&format);
    if wants(Format::Save) && show.output.iter().any(|format| *format != Format::Save) {
        let words = "cannot combine save output with any other output type, use -o save only";
        return Err(Failure::new(Exit::Usage, words));
    }
    Ok(match (show.json, wants(Format::Xml), wants(Format::Timestamp)) {
        (true, ..) => Form::Json,
        (_, true, true) => Form::StampedXml,
        (_, true, false) => Form::Xml,
        (_, false, true) => Form::Stamped,
        _ => Form::Lines,
    })
}

impl Form {
    /// What stands before the first and after the last.
    pub fn frame(self) -> (&'static str, &'static str) {
        if matches!(self, Self::Xml | Self::StampedXml) { (xml::HEAD, xml::TAIL) } else { ("", "") }
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
            Self::Xml => expectation.xml(report.event, None).to_string(),
            Self::StampedXml => expectation.xml(report.event, Some(local(received, &TimeZone::system()))).to_string(),
            Self::Json => serde_json::to_string(&report.json(received)).ok()?,
        })
    }
}

/// A moment on the clock of `zone`. What lies beyond the year 9999 is 1970.
fn local(Moment(micros): Moment, zone: &TimeZone) -> When {
    let time = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok()).unwrap_or_default();
    let at = time.to_zoned_datetime(zone.clone());
    When {
        hour: at.hour(),
        min: at.minute(),
        sec: at.second(),
        wday: at.weekday().to_sunday_one_offset(),
        day: at.day(),
        month: at.month(),
        year: at.year(),
    }
}

fn of(addr: std::net::IpAddr) -> u8 {
    cthelper_proto::types::Family::of(addr).number()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As conntrack 1.4.7 printed it for this moment.
    #[test]
    fn a_moment_is_told_by_the_clock_of_the_place() {
        let shown = |zone| local(Moment(1_795_869_680_000_000), &zone).to_string();
        let utc =
            "<when><hour>12</hour><min>41</min><sec>20</sec><wday>7</wday><day>28</day><month>11</month><year>2026</year></when>";
        assert_eq!(shown(TimeZone::UTC), utc);
        let east = TimeZone::posix("XXX-12").unwrap();
        assert!(shown(east).starts_with("<when><hour>0</hour><min>41</min><sec>20</sec><wday>1</wday><day>29</day>"));
    }

    #[test]
    fn a_moment_that_is_none_is_no_panic() {
        assert_eq!(local(Moment(u64::MAX), &TimeZone::UTC).year, 1970);
    }
}
