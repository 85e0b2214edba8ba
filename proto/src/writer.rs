//! Builds netlink attributes: nests open and close in pairs, padding is automatic.
