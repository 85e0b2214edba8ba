//! The command lines, as data: the programs parse by them, and man pages and completions are made from them.

pub mod complaint;
pub mod ctl;
pub mod daemon;
