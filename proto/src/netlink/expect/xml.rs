//! An expectation as `conntrack -o xml` prints it, one element a line; scripts read it, so each byte counts.

use std::fmt;

use super::super::conntrack::Event;
use super::super::text::{Address, protocol};
use super::super::tuple::Shape;
use super::{Expectation, INACTIVE, PERMANENT, USERSPACE};
use crate::types::{Family, Tuple};

/// What precedes the first element.
pub const HEAD: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<expect>\n";
/// What follows the last one.
pub const TAIL: &str = "</expect>\n";

/// See [`Expectation::xml`].
#[derive(Clone, Copy, Debug)]
pub struct Xml<'a> {
    expectation: &'a Expectation,
    event: Option<Event>,
    when: Option<When>,
}

/// A moment on the clock of the place where it is shown, as `struct tm` counts but for the year.
#[expect(missing_docs, reason = "each is what it is called")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    pub hour: i8,
    pub min: i8,
    pub sec: i8,
    /// 1 = Sunday.
    pub wday: i8,
    pub day: i8,
    /// 1 = January.
    pub month: i8,
    pub year: i16,
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hour, min, sec, wday, day, month, year } = self;
        write!(f, "<when><hour>{hour}</hour><min>{min:02}</min><sec>{sec:02}</sec><wday>{wday}</wday>")?;
        write!(f, "<day>{day}</day><month>{month}</month><year>{year}</year></when>")
    }
}

impl Expectation {
    /// As an element; what a dump shows has no event. With `when`, as `-o xml,timestamp`.
    pub fn xml(&self, event: Option<Event>, when: Option<When>) -> Xml<'_> {
        Xml { expectation: self, event, when }
    }
}

impl fmt::Display for Xml<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.event {
            None => "<flow>",
            Some(Event::New) => "<flow type=\"new\">",
            Some(Event::Update) => "<flow type=\"update\">",
            Some(Event::Destroy) => "<flow type=\"destroy\">",
        })?;
        let Expectation { tuple, mask, master, .. } = self.expectation;
        let sides = [("expected", *tuple), ("mask", mask.tuple(tuple)), ("master", *master)];
        let family = Family::of(tuple.src);
        let name = if family == Family::Inet { "ipv4" } else { "ipv6" };
        write!(f, "<layer3 protonum=\"{}\" protoname=\"{name}\">", family.number())?;
        for (word, Tuple { src, dst, .. }) in sides {
            write!(f, "<{word}><src>{}</src><dst>{}</dst></{word}>", Address(src), Address(dst))?;
        }
        write!(f, "</layer3><layer4 protonum=\"{0}\" protoname=\"{1}\">", tuple.proto, protocol(tuple.proto))?;
        for (word, side) in sides {
            write!(f, "<{word}>")?;
            ports(f, &side)?;
            write!(f, "</{word}>")?;
        }
        f.write_str("</layer4>")?;
        meta(f, self.expectation, self.when)?;
        f.write_str("</flow>")
    }
}

/// Nothing for ICMP.
fn ports(f: &mut fmt::Formatter<'_>, Tuple { proto, sport, dport, .. }: &Tuple) -> fmt::Result {
    match Shape::of(*proto) {
        Shape::Ports => write!(f, "<sport>{sport}</sport><dport>{dport}</dport>"),
        Shape::Keys => write!(f, "<srckey>{sport:#x}</srckey><dstkey>{dport:#x}</dstkey>"),
        Shape::Icmp | Shape::Icmpv6 | Shape::Bare => Ok(()),
    }
}

fn meta(f: &mut fmt::Formatter<'_>, expectation: &Expectation, when: Option<When>) -> fmt::Result {
    f.write_str("<meta>")?;
    if let Some(helper) = &expectation.helper {
        write!(f, "<helper-name>{}</helper-name>", Escaped(helper))?;
    }
    if let Some(timeout) = expectation.timeout {
        write!(f, "<timeout>{timeout}</timeout>")?;
    }
    write!(f, "<class>{}</class>", expectation.class)?;
    if expectation.zone != 0 {
        write!(f, "<zone>{}</zone>", expectation.zone)?;
    }
    if let Some(when) = when {
        write!(f, "{when}")?;
    }
    for (bit, element) in [(PERMANENT, "<permanent/>"), (INACTIVE, "<inactive/>"), (USERSPACE, "<userspace/>")] {
        if expectation.flags & bit != 0 {
            f.write_str(element)?;
        }
    }
    f.write_str("</meta>")
}

/// A name that could end its element is written harmlessly; conntrack writes it as it is.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            c if c.is_control() => f.write_str("\u{fffd}"),
            c => write!(f, "{c}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::expect::Mask;

    fn tuple(src: [u8; 4], dst: [u8; 4], proto: u8, sport: u16, dport: u16) -> Tuple {
        Tuple { src: src.into(), dst: dst.into(), proto, sport, dport }
    }

    /// What conntrack 1.4.7 with `libnetfilter_conntrack` 1.0.9 printed for such an expectation on Linux 6.18, addresses changed.
    const PRINTED: &str = "<flow type=\"new\"><layer3 protonum=\"2\" protoname=\"ipv4\"><expected><src>10.0.1.2</src><dst>10.0.2.2</dst></expected>\
        <mask><src>255.255.255.255</src><dst>255.255.255.255</dst></mask><master><src>10.0.1.2</src><dst>10.0.2.2</dst></master></layer3>\
        <layer4 protonum=\"17\" protoname=\"udp\"><expected><sport>0</sport><dport>99</dport></expected>\
        <mask><sport>0</sport><dport>65535</dport></mask><master><sport>40001</sport><dport>6566</dport></master></layer4>\
        <meta><helper-name>sane</helper-name><timeout>300</timeout><class>0</class></meta></flow>";

    fn sane() -> Expectation {
        let master = tuple([10, 0, 1, 2], [10, 0, 2, 2], 6, 40001, 6566);
        let mut expectation = Expectation::new(tuple([10, 0, 1, 2], [10, 0, 2, 2], 17, 0, 99), master);
        (expectation.mask, expectation.timeout, expectation.helper) =
            (Mask::new(true, false), Some(300), Some("sane".to_owned()));
        expectation
    }

    #[test]
    fn an_element_is_that_of_conntrack_to_the_byte() {
        assert_eq!(sane().xml(Some(Event::New), None).to_string(), PRINTED);
        assert!(sane().xml(None, None).to_string().starts_with("<flow><layer3 "));
    }

    #[test]
    fn flags_and_zone_are_elements() {
        let expectation = Expectation { flags: PERMANENT | INACTIVE, zone: 7, class: 2, helper: None, ..sane() };
        let meta = "<meta><timeout>300</timeout><class>2</class><zone>7</zone><permanent/><inactive/></meta></flow>";
        assert!(expectation.xml(None, None).to_string().ends_with(meta));
    }

    #[test]
    fn a_name_cannot_end_its_element() {
        let odd = Expectation { helper: Some("a</b>&\u{1b}".to_owned()), ..sane() };
        assert!(odd.xml(None, None).to_string().contains("<helper-name>a&lt;/b&gt;&amp;\u{fffd}</helper-name>"));
    }
}
