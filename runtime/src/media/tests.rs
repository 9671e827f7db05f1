//! Two media threads on loopback.
