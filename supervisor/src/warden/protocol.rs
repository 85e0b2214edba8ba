//! What is said between supervisor and warden, by [records](crate::seqpacket).

use cthelper_proto::events::Fault;
use serde::{Deserialize, Serialize};

use crate::spawn::{Recipe, RoleRecipe};

/// At boot, on the warden's fd 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Instruction {
    /// A lane's workers are made like this; its channel comes beside.
    Post(Recipe),
    /// Keepers are made like this; their channel comes beside.
    Keeper(RoleRecipe),
    /// Brokers, likewise.
    Broker(RoleRecipe),
    /// That was all; nothing is taken here any more.
    Seal,
}

/// The warden's only word on that socket: it has confined itself, and serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sealed;

/// Lane → warden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// Another worker; its packet channel, ask channel and log come beside. Of a keeper: its listening socket; of a broker: its link and its
    /// log.
    Spawn {
        /// The name of that worker between the two of us.
        generation: u64,
    },
    /// End that worker.
    Kill {
        /// Which.
        generation: u64,
    },
}

/// Warden → lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// The launcher that will become the worker exists.
    Spawned {
        /// As it was ordered.
        generation: u64,
        /// Its process id, and the worker's.
        pid: u32,
    },
    /// It could not be started.
    Failed {
        /// As it was ordered.
        generation: u64,
        /// Why.
        reason: String,
    },
    /// It is gone.
    Ended {
        /// As it was ordered.
        generation: u64,
        /// How.
        end: End,
    },
}

/// What the kernel says of a process that is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// It exited with this code.
    pub code: Option<i32>,
    /// This signal ended it.
    pub signal: Option<i32>,
    /// Where the signal came from.
    pub fault: Option<Fault>,
}
