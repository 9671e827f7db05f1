//! Counts panics. Each is a bug of ours: it ends the task it happened in and nothing else, so that without a count nobody
//! would see it but in the log.

use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static COUNT: AtomicU64 = AtomicU64::new(0);
static HOOK: Once = Once::new();

/// Counts from now on, in every thread; what was told of a panic before goes on being told.
pub(crate) fn watch() {
    HOOK.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |about| {
            COUNT.fetch_add(1, Ordering::Relaxed);
            tell(about);
        }));
    });
}

/// How many there were.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_any_thread_is_counted() {
        watch();
        let before = count();
        let thread = std::thread::Builder::new().name("to panic".into());
        let ended = thread.spawn(|| panic!("as the test wants")).expect("a thread").join();
        assert!(ended.is_err() && count() > before);
    }
}
