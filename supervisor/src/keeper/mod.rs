//! Queue sockets outlive the supervisor.
//!
//! A kernel queue belongs to its open socket, not to a process. Whoever holds a duplicate keeps the queue, its packets, and `FAIL_OPEN`
//! alive; without it an enabled helper leaves every new connection unconfirmed. So duplicates are held by
//!
//! * the **keeper** ([`run`]), an unprivileged process of ours: while no supervisor lives it also makes the sockets' buffers small, so that
//!   the kernel passes packets at once instead of parking them where nobody reads;
//! * systemd's **file descriptor store** ([`store`]), where we are a service with one.
//!
//! [`client`] is the supervisor's end of the keeper, [`protocol`] what is said; [`custody`] knows every queue socket of this life and of the
//! one before; [`succession`] gives each life a keeper of its own; [`ledger`] is the host's lock and says who was the last to serve what, [`estate`] winds up what nobody takes over.

pub mod client;
pub mod custody;
pub mod estate;
pub mod heir;
pub mod ledger;
pub mod protocol;
pub mod run;
pub mod store;
pub mod succession;
mod wire;

#[cfg(test)]
mod tests;
