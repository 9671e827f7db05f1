//! Words that name a person or an address, kept out of logs by their type.

use std::fmt;

/// A value that identifies a person, a device or an address. `Debug` and `Display` redact it;
/// [`Pii::reveal`] is the one deliberate way out.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Marks `value` as identifying.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself, for use on the wire and in the operator's own status pages.
    pub const fn reveal(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl<T> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_debug_nor_display_shows_the_value() {
        let aor = Pii::new("sip:alice@example.com");
        assert_eq!(format!("{aor} {aor:?}"), "<redacted> <redacted>");
        assert_eq!(*aor.reveal(), "sip:alice@example.com");
    }
}
