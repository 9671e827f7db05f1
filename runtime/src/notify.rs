//! Tells the service manager how the service is: the datagrams of `sd_notify(3)`.
//!
//! Nothing happens where `NOTIFY_SOCKET` is not set, so the same program runs anywhere.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::limits::WATCHDOG_BEATS;

const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";
/// The two of `sd_watchdog_enabled(3)`.
const WATCHDOG_VARIABLES: [&str; 2] = ["WATCHDOG_USEC", "WATCHDOG_PID"];

/// The sockets are bound: clients may come.
pub fn ready() {
    send("READY=1");
}

/// The service is ending.
pub fn stopping() {
    send("STOPPING=1");
}

/// The service turns. One that says nothing for as long as `WatchdogSec` is ended by the manager, and started again.
pub fn turns() {
    send("WATCHDOG=1");
}

/// How often to say [`turns`]; `None` where nobody waits for it.
#[must_use]
pub fn turns_every() -> Option<Duration> {
    let [span, process] = WATCHDOG_VARIABLES.map(|name| std::env::var(name).ok());
    beat(span.as_deref(), process.as_deref(), std::process::id())
}

/// `span` is in microseconds. A `process` that is not ours has left us its variables, and is the one waited for.
fn beat(span: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let micros = span?.parse().ok().filter(|micros| *micros > 0)?;
    let ours = process.is_none_or(|process| process.parse() == Ok(own));
    ours.then(|| Duration::from_micros(micros) / WATCHDOG_BEATS)
}

/// One line for people, shown by `systemctl status`.
pub fn status(text: &str) {
    send(&status_line(text));
}

/// The service reads its files again; say [`ready`] when that is done.
pub fn reloading() {
    send(&reloading_lines());
}

fn status_line(text: &str) -> String {
    // A line end would begin another variable.
    format!("STATUS={}", text.replace(['\n', '\r'], " "))
}

fn reloading_lines() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    format!("RELOADING=1\nMONOTONIC_USEC={}", now.tv_sec * 1_000_000 + now.tv_nsec / 1_000)
}

fn send(state: &str) {
    let Some(socket) = std::env::var_os(SOCKET_VARIABLE) else { return };
    if let Err(error) = send_to(&socket, state) {
        tracing::warn!(%error, "the service manager cannot be told {state:?} through {}", socket.display());
    }
}

/// `@` stands for the zero byte that begins the name of an abstract socket.
fn send_to(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::tests::Scratch;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut buffer = [0; 256];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn a_socket_with_a_path_is_told() {
        let scratch = Scratch::new("notify");
        let path = scratch.path().join("notify.sock");
        let manager = UnixDatagram::bind(&path).unwrap();
        send_to(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn an_abstract_socket_is_told() {
        let name = format!("edgeway-notify-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send_to(OsStr::new(&format!("@{name}")), &status_line("two\nlines")).unwrap();
        assert_eq!(received(&manager), "STATUS=two lines");
    }

    #[test]
    fn a_reload_carries_the_monotonic_clock() {
        let micros = |lines: &str| -> i64 {
            lines.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect("both variables").parse().unwrap()
        };
        let before = micros(&reloading_lines());
        std::thread::sleep(Duration::from_millis(20));
        let passed = micros(&reloading_lines()) - before;
        assert!((20_000..10_000_000).contains(&passed), "{passed} microseconds");
    }

    #[test]
    fn the_watchdog_hears_from_the_process_it_waits_for_and_in_time() {
        let third = Some(Duration::from_secs(10));
        assert_eq!(beat(Some("30000000"), Some("7"), 7), third);
        assert_eq!(beat(Some("30000000"), None, 7), third);
        for (span, process) in [
            (None, None),
            (None, Some("7")),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("1"), Some("8")),
            (Some("1"), Some("")),
        ] {
            assert_eq!(beat(span, process, 7), None, "{span:?} {process:?}");
        }
    }

    #[test]
    fn a_listener_that_is_gone_is_an_error_not_a_panic() {
        assert!(send_to(OsStr::new("/nonexistent/notify.sock"), "READY=1").is_err());
        assert!(send_to(OsStr::new(""), "READY=1").is_err());
    }
}
