//! Media across the path.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use edgeway_model::media::MediaPath;
use edgeway_path::{Path, Rules};

use crate::ends::{Direction, Ends, SOON};

/// Bytes of a video packet: what phones send over Ethernet.
const VIDEO_BYTES: usize = 1_400;
/// What we may lose beside what the path did, of which about 1 % is chance.
const LOST_PERCENT_MAX: f64 = 0.1;

fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// A congestion control that takes loss for congestion would let a tenth of this through.
pub(crate) fn hundred_megabits(number: usize) -> Result<String> {
    let calm = Rules { delay: Duration::from_millis(20), ..Rules::default() };
    let path = Path::create(number, calm, 1)?;
    let mut ends = Ends::start(&path, false)?;
    ends.wait_path(MediaPath::Udp, SOON)?;
    ends.add_relays(20)?;
    path.set(Rules { loss_ppm: 10_000, ..calm });
    let mut said = Vec::new();
    for (direction, end) in [(Direction::Inward, 0), (Direction::Outward, 1)] {
        let counters = path.counters(end);
        let before = (count(&counters.came), count(&counters.lost), count(&counters.overflow));
        let span = Duration::from_secs(5);
        let outcome = ends.run(direction, VIDEO_BYTES, 100_000_000 / 8 / VIDEO_BYTES as u64, span, || Ok(()))?;
        let (came, lost) = (count(&counters.came) - before.0, count(&counters.lost) - before.1);
        let overflow = count(&counters.overflow) - before.2;
        let megabits = outcome.sent as f64 * VIDEO_BYTES as f64 * 8e-6 / span.as_secs_f64();
        let (ours, paths) = (outcome.lost_percent(), 100.0 * lost as f64 / came as f64);
        said.push(format!(
            "{direction:?} {megabits:.0} Mbit/s lost {ours:.2} % (the path {paths:.2} %, {overflow} overflowed)"
        ));
        ensure!(megabits >= 95.0, "only {megabits:.0} Mbit/s were sent: the machine is too slow");
        ensure!(ours <= paths + LOST_PERCENT_MAX, "{}", said.join("; "));
    }
    Ok(said.join("; "))
}

/// Nothing of a video packet is lost to its size, nothing is fragmented.
pub(crate) fn narrow(number: usize, silent_router: bool) -> Result<String> {
    let rules = Rules { delay: Duration::from_millis(10), width: 1_280, silent_router, ..Rules::default() };
    let path = Path::create(number, rules, 2)?;
    let mut ends = Ends::start(&path, false)?;
    ends.wait_path(MediaPath::Udp, SOON)?;
    ends.add_relays(2)?;
    let mut said = Vec::new();
    for direction in [Direction::Inward, Direction::Outward] {
        let outcome = ends.run(direction, VIDEO_BYTES, 1_000, Duration::from_secs(2), || Ok(()))?;
        said.push(format!("{direction:?} {} of {}", outcome.received, outcome.sent));
        ensure!(outcome.received == outcome.sent, "{}", said.join("; "));
    }
    let fragments = count(&path.counters(0).fragments) + count(&path.counters(1).fragments);
    ensure!(fragments == 0, "{fragments} fragments");
    Ok(said.join("; "))
}

/// Relays, the link over UDP and the link over TCP.
pub(crate) fn version_six(number: usize) -> Result<String> {
    let rules = Rules { delay: Duration::from_millis(5), ..Rules::default() };
    let path = Path::create(number, rules, 3)?;
    let mut ends = Ends::start(&path, true)?;
    ends.wait_path(MediaPath::Udp, SOON)?;
    ends.add_relays(2)?;
    let mut said = Vec::new();
    for (wanted, udp) in [(MediaPath::Udp, true), (MediaPath::Tcp, false)] {
        path.set(Rules { udp, ..rules });
        ends.wait_path(wanted, SOON)?;
        for direction in [Direction::Inward, Direction::Outward] {
            let outcome = ends.run(direction, VIDEO_BYTES, 500, Duration::from_millis(800), || Ok(()))?;
            said.push(format!("{} {direction:?} {} of {}", wanted.label(), outcome.received, outcome.sent));
            ensure!(outcome.received == outcome.sent, "{}", said.join("; "));
        }
    }
    Ok(said.join("; "))
}

/// A call lives through both changes: what is heard of them is one gap while silence is noticed.
pub(crate) fn fallback(number: usize) -> Result<String> {
    let open = Rules { delay: Duration::from_millis(20), ..Rules::default() };
    let blocked = Rules { udp: false, ..open };
    let path = Path::create(number, open, 4)?;
    let mut ends = Ends::start(&path, false)?;
    ends.wait_path(MediaPath::Udp, SOON)?;
    ends.add_relays(4)?;
    let span = Duration::from_secs(5);
    let lost = ends.run(Direction::Inward, 172, 200, span, || {
        std::thread::sleep(Duration::from_millis(500));
        path.set(blocked);
        Ok(())
    })?;
    ensure!(lost.gap <= Duration::from_millis(3_000), "media was away for {:?}", lost.gap);
    ends.wait_path(MediaPath::Tcp, SOON)?;
    let calm = ends.run(Direction::Outward, VIDEO_BYTES, 900, Duration::from_secs(2), || Ok(()))?;
    ensure!(calm.received == calm.sent, "over TCP {} of {}", calm.received, calm.sent);
    let back = ends.run(Direction::Outward, 172, 200, Duration::from_secs(10), || {
        path.set(open);
        Ok(())
    })?;
    let returned = ends.wait_path(MediaPath::Udp, SOON)?;
    ensure!(back.received == back.sent, "{} of {} on the way back to UDP", back.received, back.sent);
    ensure!(ends.core.paths() == [MediaPath::Udp, MediaPath::Tcp, MediaPath::Udp], "{:?}", ends.core.paths());
    ensure!(ends.edge.paths() == [MediaPath::Udp, MediaPath::Tcp, MediaPath::Udp], "{:?}", ends.edge.paths());
    Ok(format!(
        "away for {:.2} s when UDP was blocked, {:.0} ms when it came back (wait {returned:.1?})",
        lost.gap.as_secs_f64(),
        back.gap.as_secs_f64() * 1e3
    ))
}
