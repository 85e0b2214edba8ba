//! The warden: a small process that makes workers, waits for them and ends them, so that the supervisor need not be able to.
//!
//! Making a worker takes the power to become anybody (`CAP_SETUID`, `CAP_SYS_ADMIN` …). The supervisor, which reads what the kernel
//! queues, does not have it: it gives it up at boot, together with fork and exec, and keeps a socket to the warden instead. What can
//! be said on that socket is this module's `protocol`: *another worker for this lane*, *end that one*. Which programs run, and as
//! whom, is told once, before the first packet, and [sealed](Hiring::seal).
//!
//! The other way would have been a filter on the arguments of `setresuid`; filters are inherited, so the supervisor's would have had
//! to allow whatever its launchers do.
//!
//! | file | is |
//! |---|---|
//! | `protocol` | what is said on the sockets |
//! | `hiring` | the supervisor's end at boot |
//! | `post` | a lane's end |
//! | `run`, `children` | the process itself |
//! | `witness`, `registers`, `class` | what it sees of a worker's end |
//!
//! It makes the broker too ([`crate::broker`]), and the keeper ([`crate::keeper`]), the one child it does not take with it.

mod children;
mod class;
mod hiring;
mod post;
mod protocol;
mod registers;
pub mod run;
mod witness;

pub use hiring::{Hiring, Warden};
pub use post::Post;
pub use protocol::{End, News};
pub use witness::trace_me;
