//! Workers that do not play by the rules harm nobody but themselves: each is a row, what it did is found by name in the audit log, and the
//! packets pass as they came.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it means")]

mod broker;
mod escapes;
mod false_broker;
mod flows;
mod keeper;
mod orders;
mod outside;
mod rules;
mod starts;
mod unit;
mod witness;
