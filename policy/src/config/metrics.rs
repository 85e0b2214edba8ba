//! `[metrics]`: where the counters can be fetched besides `events.sock`.

use std::net::SocketAddr;

use serde::Deserialize;

/// The settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// A port of the loopback; absent = none.
    pub listen: Option<SocketAddr>,
}

/// As it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Table {
    listen: Option<Loopback>,
}

impl From<Table> for Metrics {
    fn from(table: Table) -> Self {
        Self { listen: table.listen.map(|loopback| loopback.0) }
    }
}

/// An address and port of this host alone: nothing here is encrypted, and whoever asks is not known.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Loopback(SocketAddr);

impl TryFrom<String> for Loopback {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let address: SocketAddr = text
            .parse()
            .map_err(|_| format!("listen {text:?}: an address and a port, such as \"127.0.0.1:9811\" or \"[::1]:9811\""))?;
        if !address.ip().is_loopback() {
            return Err(format!("listen {text:?}: only the loopback, 127.0.0.1 or [::1]; a proxy on this host can serve others"));
        }
        if address.port() == 0 {
            return Err(format!("listen {text:?}: port 0 is none"));
        }
        Ok(Self(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loopback_and_a_port() {
        let table = |text: &str| toml::from_str::<Table>(&format!("listen = \"{text}\"")).map(Metrics::from);
        assert_eq!(table("127.0.0.1:9811").unwrap().listen.unwrap().port(), 9811);
        assert!(table("[::1]:9811").unwrap().listen.unwrap().is_ipv6());
        for (wrong, why) in [("0.0.0.0:9811", "only the loopback"), ("127.0.0.1:0", "port 0"), ("9811", "an address and a port")]
        {
            let error = table(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
