//! Secrets typed at a terminal: nothing is shown, and the terminal is as before whatever happens.

use std::io::{self, Write as _};

use edgeway_connectors::authorities::limits::PASSWORD_BYTES_MAX;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

/// Asks with `prompt` on standard error, and reads a line without showing it. Ctrl-C and Ctrl-D end it.
///
/// # Errors
/// Standard input is no terminal, or it was ended.
pub(crate) fn read_secret(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut error = io::stderr();
    let line = {
        // Mute before it asks: who answers at once is not shown, and not lost either.
        let _quiet = Quiet::begin()?;
        write!(error, "{prompt}")?;
        error.flush()?;
        read_line(io::stdin().lock())
    };
    writeln!(error)?;
    line
}

/// Keys are read one by one, because a Ctrl-C that ended the process would leave the terminal mute.
fn read_line(from: impl io::BufRead) -> io::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 4));
    let mut character = Zeroizing::new(Vec::with_capacity(4));
    for byte in from.bytes() {
        match byte? {
            b'\r' | b'\n' => return Ok(line),
            0x03 | 0x04 => return Err(io::Error::new(io::ErrorKind::Interrupted, "ended")),
            0x08 | 0x7f => _ = line.pop(),
            // Ctrl-U: from the beginning.
            0x15 => line.clear(),
            byte => character.push(byte),
        }
        if let Ok(text) = std::str::from_utf8(&character) {
            line.push_str(text);
            character.clear();
        }
        if line.len() > PASSWORD_BYTES_MAX || character.len() > 4 {
            return Err(io::Error::other("this is no password"));
        }
    }
    Err(io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// The terminal of standard input, mute for as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_a_line() {
        for (keys, line) in [
            (&b"secret\n"[..], "secret"),
            (b"sec\x7f\x7fx\r", "sx"),
            ("mü\x08ö\n".as_bytes(), "mö"),
            (b"wrong\x15right\n", "right"),
            (b"\x7f\n", ""),
        ] {
            assert_eq!(read_line(keys).unwrap().as_str(), line);
        }
        for keys in [&b"abc\x03"[..], b"\x04", b"abc", b"\xff\xff\xff\xff\xff\n"] {
            assert!(read_line(keys).is_err(), "{keys:?}");
        }
    }
}
