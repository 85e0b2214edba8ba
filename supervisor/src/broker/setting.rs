//! An event queue's settings on their way to the broker: plain numbers and the filter's text, which the broker reads again.

use std::collections::BTreeMap;

use cthelper_policy::config::{QueueConfig, Readers, Room, Select, WhenFull, Who};
use cthelper_policy::events::Filter;
use cthelper_policy::events::filter::Mark;
use cthelper_proto::events_sock::Format;
use cthelper_proto::netlink::report::Kind;
use nix::unistd::{Group, User};
use serde::{Deserialize, Serialize};

/// One queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSetting {
    number: u16,
    kinds: Vec<String>,
    filter: String,
    mark: Option<(u32, u32)>,
    label: Option<u8>,
    uids: Vec<u32>,
    gids: Vec<u32>,
    records: u32,
    bytes: u32,
    disconnects: bool,
    format: Format,
}

/// Who readers are, by number: looked up at boot, because the supervisor cannot open the files for that any more, nor load what would ask a
/// directory service.
#[derive(Clone, Debug, Default)]
pub struct Names {
    users: BTreeMap<String, u32>,
    groups: BTreeMap<String, u32>,
}

impl Names {
    /// Of all readers that these queues name; and a line for each that this machine does not know, who cannot read.
    pub fn look_up<'a>(queues: impl IntoIterator<Item = &'a QueueConfig>) -> (Self, Vec<String>) {
        let (mut names, mut unknown) = (Self::default(), Vec::new());
        for queue in queues {
            let mut miss =
                |what: &str, name: &str| unknown.push(format!("events.queue.{}: no {what} is called {name:?}", queue.number));
            for name in queue.readers.users.iter().filter_map(name) {
                if let Some(user) = User::from_name(name).ok().flatten() {
                    names.users.insert(name.to_owned(), user.uid.as_raw());
                } else {
                    miss("user", name);
                }
            }
            for name in queue.readers.groups.iter().filter_map(name) {
                if let Some(group) = Group::from_name(name).ok().flatten() {
                    names.groups.insert(name.to_owned(), group.gid.as_raw());
                } else {
                    miss("group", name);
                }
            }
        }
        (names, unknown)
    }
}

fn name(who: &Who) -> Option<&str> {
    match who {
        Who::Id(_) => None,
        Who::Name(name) => Some(name),
    }
}

impl QueueSetting {
    /// For the broker. Readers that nobody knows are left out.
    pub fn new(config: &QueueConfig, names: &Names) -> Self {
        let of = |all: &[Who], known: &BTreeMap<String, u32>| {
            let number = |who: &Who| match who {
                Who::Id(id) => Some(*id),
                Who::Name(name) => known.get(name).copied(),
            };
            all.iter().filter_map(number).collect()
        };
        let (mark, label) = match config.select {
            Some(Select::Mark(mark)) => (Some((mark.value(), mark.mask())), None),
            Some(Select::Label(label)) => (None, Some(label)),
            None => (None, None),
        };
        Self {
            number: config.number,
            kinds: config.kinds.iter().map(|kind| kind.name().to_owned()).collect(),
            filter: config.filter.to_string(),
            mark,
            label,
            uids: of(&config.readers.users, &names.users),
            gids: of(&config.readers.groups, &names.groups),
            records: config.room.records,
            bytes: config.room.bytes,
            disconnects: config.when_full == WhenFull::Disconnect,
            format: config.format,
        }
    }

    /// As it was; `None` if the filter is too long to be written out in full.
    pub fn into_config(self) -> Option<QueueConfig> {
        let ids = |all: Vec<u32>| all.into_iter().map(Who::Id).collect();
        Some(QueueConfig {
            number: self.number,
            kinds: self.kinds.iter().filter_map(|name| Kind::from_name(name)).collect(),
            filter: Filter::parse(&self.filter).ok()?,
            select: self.mark.map(|(value, mask)| Select::Mark(Mark::new(value, mask))).or(self.label.map(Select::Label)),
            readers: Readers { users: ids(self.uids), groups: ids(self.gids) },
            room: Room { records: self.records, bytes: self.bytes },
            when_full: if self.disconnects { WhenFull::Disconnect } else { WhenFull::DropOldest },
            format: self.format,
        })
    }
}

#[cfg(test)]
mod tests {
    use cthelper_policy::config::Config;

    use super::*;

    #[test]
    fn a_queue_arrives_as_it_was_written_with_numbers_for_names() {
        let text = "[helper.ftp]\n[events.queue.7]\nevents = [\"new\", \"destroy\"]\nfilter = \"proto tcp and not (src 10.0.0.0/8 or helper ftp)\"\n\
                    select = { mark = \"0x10/0xf0\" }\nusers = [\"ulog\", \"nobody-at-all\", 12]\ngroups = [5]\nrecords = 100\nbytes = 70000\n\
                    when_full = \"disconnect\"\nformat = \"json\"\n";
        let config = Config::parse(text, "f").unwrap();
        let queue = &config.queues[&7];
        let names = Names { users: BTreeMap::from([("ulog".to_owned(), 7)]), ..Names::default() };
        let arrived = QueueSetting::new(queue, &names).into_config().unwrap();
        let readers = Readers { users: vec![Who::Id(7), Who::Id(12)], groups: vec![Who::Id(5)] };
        assert_eq!(arrived, QueueConfig { readers, ..queue.clone() });
    }
}
