//! Standard output. Whoever reads it may stop reading (`edgeway status | head`): then there is nobody left to tell
//! anything, and the command ends without a word.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

/// As `print!`, but a reader who has gone ends the command.
macro_rules! show {
    ($($arg:tt)*) => { $crate::output::write(format_args!($($arg)*)) };
}

/// As `println!`, but a reader who has gone ends the command.
macro_rules! say {
    ($($arg:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($arg)*))) };
}

pub(crate) use {say, show};

/// sysexits: output could not be written.
const OUTPUT_FAILED: i32 = 74;

/// Writes, and ends the command where that cannot be.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            eprintln!("the output could not be written: {error}");
            std::process::exit(OUTPUT_FAILED);
        }
    }
}
