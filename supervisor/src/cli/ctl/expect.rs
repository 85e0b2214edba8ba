//! `cthelperctl expect`.

use std::ffi::OsStr;
use std::net::SocketAddr;

use clap::builder::{EnumValueParser, PossibleValue, TypedValueParser};
use clap::{Arg, Args, Command, Error, Subcommand, ValueEnum};

/// What to do with expectations.
#[derive(Clone, Debug, Subcommand)]
pub enum Expect {
    /// Those there are, as `conntrack -L expect` prints them
    List(Show),
    /// Those that come and go, as `conntrack -E expect` prints them, until interrupted
    Watch(Show),
    /// Take one back, or all of one helper
    Delete(Which),
    /// Take all back, whoever made them
    Flush,
}

/// How to show them.
#[derive(Clone, Debug, Default, Args)]
pub struct Show {
    /// Only this family; both without it
    #[arg(short, long)]
    pub family: Option<Layer3>,
    /// As conntrack takes them, in any case, shortened, with commas: `xml`, `timestamp`, or both; those of its words that change nothing for expectations are taken, too
    #[arg(short, long, value_name = "FORMAT", value_delimiter = ',', value_parser = Shortened)]
    pub output: Vec<Format>,
    /// One JSON object a line, as `cthelperctl events` prints them
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
}

/// `--family`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layer3 {
    /// IPv4
    #[value(alias = "ipv4")]
    Inet,
    /// IPv6
    #[value(alias = "ipv6")]
    Inet6,
}

/// `--output`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One element each
    Xml,
    /// Seconds and microseconds since 1970 before each line
    Timestamp,
    /// No change
    Extended,
    /// No change
    Id,
    /// No change
    Ktimestamp,
    /// No change
    Labels,
    /// No change
    Userspace,
    /// No change, and only by itself
    Save,
}

/// Takes a word of [`Format`] as conntrack does: in any case, and any beginning of it for the first that has it.
#[derive(Clone, Copy, Debug)]
struct Shortened;

impl TypedValueParser for Shortened {
    type Value = Format;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, word: &OsStr) -> Result<Format, Error> {
        let typed = word.to_string_lossy().to_ascii_lowercase();
        let begins = |value: &&PossibleValue| !typed.is_empty() && value.get_name().starts_with(&typed);
        let values: Vec<PossibleValue> = Format::value_variants().iter().filter_map(Format::to_possible_value).collect();
        let full = values.iter().find(begins).map_or(word, |value| OsStr::new(value.get_name()));
        EnumValueParser::<Format>::new().parse_ref(cmd, arg, full)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Format::value_variants().iter().filter_map(Format::to_possible_value)))
    }
}

/// Which to take back.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// All of this helper
    #[arg(long, value_name = "NAME", conflicts_with_all = ["protocol", "from", "to"], required_unless_present = "protocol")]
    pub helper: Option<String>,
    /// The expected connection's protocol, by its number or as tcp, udp, sctp, dccp, udplite
    #[arg(requires = "from", requires = "to", value_parser = protocol)]
    pub protocol: Option<u8>,
    /// Where it comes from: `ADDRESS:PORT` or `[ADDRESS]:PORT`, as listed (a port that does not matter is 0)
    pub from: Option<SocketAddr>,
    /// Where it goes to
    pub to: Option<SocketAddr>,
    /// Its zone
    #[arg(long, value_name = "ZONE", default_value_t = 0)]
    pub zone: u16,
}

/// A protocol with ports by its name, any by its number.
fn protocol(word: &str) -> Result<u8, String> {
    let known = [("tcp", 6), ("udp", 17), ("dccp", 33), ("sctp", 132), ("udplite", 136)];
    let named = known.iter().find(|(name, _)| *name == word).map(|(_, number)| *number);
    named.or_else(|| word.parse().ok()).ok_or_else(|| "tcp, udp, dccp, sctp, udplite or a number up to 255".to_owned())
}
