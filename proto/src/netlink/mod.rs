//! nfnetlink messages.
