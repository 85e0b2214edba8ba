//! What is known of a worker's death, as an operator may read it: escaped, bounded, with a name of its own.

pub mod crash;
pub mod text;
