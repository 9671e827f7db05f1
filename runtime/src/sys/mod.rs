//! The operating system where no safe crate of ours reaches: the only room with `unsafe`.

#![allow(unsafe_code)]

use std::io;

/// Lets this process open as many files (sockets are files) as it may at all, and says how many. A
/// shell or a service manager often hands out 1,024 where the machine allows far more.
///
/// # Errors
/// What the system says.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed rlimit for the whole call, which fills it in.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: `limit` is a valid rlimit that is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_limit_is_what_the_kernel_says() {
        let raised = super::raise_file_limit().expect("limit");
        let limits = std::fs::read_to_string("/proc/self/limits").expect("limits");
        let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("line");
        let fields: Vec<_> = line.split_whitespace().collect();
        assert_eq!((fields[3], fields[4]), (raised.to_string().as_str(), raised.to_string().as_str()), "{line}");
    }
}
