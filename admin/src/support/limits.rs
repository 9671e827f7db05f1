//! Bounds of a support bundle.

/// Bytes of one file of a bundle; what is longer loses its beginning, for the end is nearer to what went wrong.
pub const PART_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Files of a bundle.
pub const PARTS_MAX: usize = 64;
