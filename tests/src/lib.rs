//! Shared pieces of the test ladder.
