//! Imposters.
