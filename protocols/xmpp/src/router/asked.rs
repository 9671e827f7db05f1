//! What a client that has signed in says to its server, as far as it may be another sign-in: that one would be counted by
//! nobody, and is none of the client's business any more (RFC 6120 §6.3.5: sign-in is over with `<success/>`).

use bytes::Bytes;

use super::reader::Reader;
use super::relay::local_name;
use crate::condition::{Condition, StreamFault};
use crate::limits::LOOKED_AT_BYTES_MAX;
use crate::ns;
use crate::scan::Boundary;

/// The client's element at hand.
#[derive(Default)]
pub(super) struct Asked {
    /// It passes.
    passing: bool,
    /// As far as it has come, unless it passes.
    held: Vec<u8>,
}

impl Asked {
    /// Looks at a piece of an element, up to where the scanner has come. Whether it is held: its name is one of sign-in,
    /// or not known yet.
    pub(super) fn takes(&mut self, piece: &[u8], event: Option<Boundary>) -> bool {
        let is_whole = match event {
            Some(Boundary::Stanza) => true,
            None => false,
            Some(Boundary::Whitespace | Boundary::Header | Boundary::Close) => return false,
        };
        if self.passing || (self.held.is_empty() && local_name(piece).is_some_and(|name| !NAMES.contains(&name))) {
            self.passing = !is_whole;
            return false;
        }
        self.held.extend_from_slice(piece);
        true
    }

    /// What of it goes on now.
    ///
    /// # Errors
    /// What the client is to be told: it was a sign-in, or too large for one.
    pub(super) fn judge(&mut self, stream: &Reader, is_whole: bool) -> Result<Bytes, StreamFault> {
        match local_name(&self.held) {
            Some(name) if NAMES.contains(&name) && is_whole => {
                let element = stream.parse(&self.held)?;
                if [ns::SASL, ns::SASL_2].contains(&element.namespace.as_str()) {
                    return Err(SIGNED_IN);
                }
            }
            Some(name) if NAMES.contains(&name) && self.held.len() > LOOKED_AT_BYTES_MAX => return Err(SIGNED_IN),
            Some(name) if NAMES.contains(&name) => return Ok(Bytes::new()),
            Some(_) => self.passing = !is_whole,
            None if is_whole => {}
            None => return Ok(Bytes::new()),
        }
        Ok(std::mem::take(&mut self.held).into())
    }
}

/// Of elements with which clients sign in (RFC 6120 §6, XEP-0388).
const NAMES: [&[u8]; 5] = [b"auth", b"response", b"abort", b"authenticate", b"next"];

const SIGNED_IN: StreamFault = StreamFault::new(Condition::PolicyViolation, "The sign-in is over.");
