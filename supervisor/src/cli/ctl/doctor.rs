//! `cthelperctl doctor`.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::Args;

/// What to look at.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Helper that shall work; may be repeated (without it: those served, or else those of the configuration, or else ftp)
    #[arg(long = "helper", value_name = "NAME")]
    pub helpers: Vec<String>,
    /// One JSON object instead of lines
    #[arg(long)]
    pub json: bool,
    /// Why this connection was or was not helped: `SRC:PORT-DST:PORT` as its client sees it, IPv6 in brackets
    #[arg(long, value_name = "FLOW")]
    pub flow: Option<FlowEnds>,
}

/// Both ends of a connection, as one side sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowEnds {
    /// Who sends.
    pub from: SocketAddr,
    /// Who receives.
    pub to: SocketAddr,
}

impl FromStr for FlowEnds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "SRC:PORT-DST:PORT, such as 10.0.1.2:40000-10.0.2.2:21 or [fd00::1]:40000-[fd00::2]:21";
        let (from, to) = text.split_once('-').ok_or(WANTED)?;
        let ends = Self { from: from.parse().map_err(|_| WANTED)?, to: to.parse().map_err(|_| WANTED)? };
        if ends.from.is_ipv4() == ends.to.is_ipv4() { Ok(ends) } else { Err("both ends are of one family") }
    }
}
