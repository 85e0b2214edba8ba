//! Puts a profile around a process. What was done is returned; that it was done is for [`crate::verify`] to see from outside.
//!
//! | step | by | file |
//! |---|---|---|
//! | boot | the supervisor and the warden, before they have threads | `supervisor` |
//! | before exec | the launcher, single-threaded | `launch` |
//! | before `Ready` | the worker | `seal` |
//! | before its first message | the keeper | `keeper` |
//! | before it is given a socket | the broker | `broker` |
//!
//! seccomp and landlock bind a thread and its children, so each step belongs before the first thread is made.

mod broker;
mod filter;
mod keeper;
mod launch;
mod ruleset;
mod seal;
mod supervisor;

use std::error::Error;
use std::fmt;

pub use broker::broker;
pub use filter::worker_program;
pub use keeper::keeper;
pub use launch::{Launch, launch};
pub use seal::seal_worker;
pub use supervisor::{Places, supervisor, warden};

/// A step that failed; the process is then confined in part, and must end.
#[derive(Debug)]
pub struct ConfineError {
    /// What was being done, such as `drop the groups`.
    pub doing: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl ConfineError {
    fn new(doing: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { doing, source: source.into() }
    }
}

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}: {}", self.doing, self.source)
    }
}

impl Error for ConfineError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.source.as_ref())
    }
}

/// Names the step in which an error arose.
trait While<T> {
    fn doing(self, doing: &'static str) -> Result<T, ConfineError>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> While<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, ConfineError> {
        self.map_err(|error| ConfineError::new(doing, error))
    }
}
