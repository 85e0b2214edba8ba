//! The broker: answers whoever may connect, so that nobody who holds a capability has to.
//!
//! An unprivileged, confined role of this program, made by the warden as workers are. `events.sock` and the port for metrics are bound by
//! the supervisor and handed over when the broker has been verified; so are the kernel's event sockets, from which it can only read.
//!
//! | file | is |
//! |---|---|
//! | `office` | the supervisor's end: starts, verifies, equips and replaces it |
//! | `feed` | the kernel's event socket, and the one for dumps: opened and asked here, read there |
//! | `setting` | an event queue on its way to the broker |
//! | `link` | where lanes leave their news for it, without waiting |
//! | `protocol` | what the two say to each other |
//! | `run` | the process: its start and its confinement |
//! | `hub` | its one loop: `attend` to clients, `queues`, `events` of the kernel, `resync`, and what is asked for once (`scrape`) |
//! | `client`, `backlog`, `frames` | one connection, what waits for it, and how an event looks |
//! | `mirror` | the connections that have a helper |
//! | `request`, `http` | what a client may say |
//! | `metrics` | the counters as OpenMetrics text |
//!
//! It has one thread and no async runtime: a loop over `epoll` needs nine system calls beside those for memory, where tokio's would want
//! `eventfd`, `futex`, and a way to start over signals.

mod backlog;
pub mod board;
mod client;
pub mod feed;
mod frames;
mod http;
mod hub;
pub mod link;
pub mod metrics;
mod mirror;
pub mod office;
pub mod protocol;
mod request;
pub mod run;
pub mod setting;
