//! What fuzzing runs: bytes of UC servers, read in every way there is. Nothing may panic; the bounds of each reader
//! hold. The replay of the committed corpus runs it too.
//!
//! Not for production code: everything else in this crate promises not to panic.

use crate::discovery::token_keys;
use crate::unified_cm::axl;

/// An answer of AXL to each of our questions, and a set of token keys.
pub fn axl_xml(bytes: &[u8]) {
    axl::read_anything(bytes);
    if let Ok(keys) = token_keys::parse(bytes) {
        assert!(keys.iter().all(|key| !key.id.is_empty() && key.public.len() > 256), "only good keys come out");
    }
}
