//! Tests with real texts.
