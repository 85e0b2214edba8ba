//! What is known of a worker's death, as an operator may read it and another worker be shown it.
//!
//! [`crash`] and [`text`] make the record: escaped, bounded, with a name of its own · [`exhibit`] is the packet in hand with what is needed
//! to repeat its effect, [`pcapng`] the file it is kept in.

pub mod crash;
pub mod exhibit;
pub mod pcapng;
pub mod text;
