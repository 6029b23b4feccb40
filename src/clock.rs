//! The one place that reads the wall clock, and which boot of which machine it is on. Not for calendars: those are `model::Moment`'s.

use crate::model::Moment;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Where the time comes from: the machine, or a test.
#[derive(Debug, Clone)]
pub enum Clock {
    /// The machine's wall clock.
    System,
    /// Stands at these seconds since 1970 until a test moves it; clones move together.
    Fixed(Arc<AtomicI64>),
}

impl Clock {
    /// A clock that stands still at `moment`.
    pub fn fixed(moment: Moment) -> Self {
        Self::Fixed(Arc::new(AtomicI64::new(moment.unix())))
    }

    /// The moment that it is now.
    pub fn now(&self) -> Moment {
        match self {
            Self::System => Moment::from_unix(system_seconds()),
            Self::Fixed(seconds) => Moment::from_unix(seconds.load(Ordering::SeqCst)),
        }
    }

    /// Moves a fixed clock by so many seconds, also backwards; the system's clock is not touched.
    pub fn advance(&self, by_seconds: i64) {
        if let Self::Fixed(seconds) = self {
            seconds.fetch_add(by_seconds, Ordering::SeqCst);
        }
    }
}

/// Measures a duration with the monotonic clock, which no one sets; tests can make it stand still.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The id of this boot of the machine (`/proc/sys/kernel/random/boot_id`, proc(5)): a process id
/// means something only together with it.
///
/// # Errors
/// The file cannot be read, as where /proc is not mounted.
pub fn boot_id() -> std::io::Result<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

/// The time zone that this machine is in, by `TZ` or `/etc/localtime`; UTC where neither says.
pub fn local_zone() -> jiff::tz::TimeZone {
    jiff::tz::TimeZone::try_system().unwrap_or(jiff::tz::TimeZone::UTC)
}

/// The time zone of this name, as `Europe/Berlin`, out of the machine's database (tzdata); `None` when
/// it holds none of that name.
pub fn zone(name: &str) -> Option<jiff::tz::TimeZone> {
    jiff::tz::TimeZone::get(name).ok()
}

/// This machine's host name (gethostname(2)), with its domain where it was given one; empty where
/// it has none.
pub fn host_name() -> String {
    nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A host name without its domain: so PVE names a node, whatever the host name is
/// (pve-common, `INotify::nodename`).
pub fn first_label(host: &str) -> &str {
    host.split('.').next().unwrap_or_default()
}

// A machine's clock before 1970 is wrong in any case; zero says so as well as anything.
#[allow(clippy::disallowed_methods)]
fn system_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_clock_moves_only_when_told_and_clones_move_with_it() {
        let clock = Clock::fixed(Moment::from_unix(1000));
        let other = clock.clone();
        clock.advance(-400);
        assert_eq!((clock.now().unix(), other.now().unix()), (600, 600));
    }

    #[test]
    fn the_system_clock_stands_after_2020_and_the_boot_has_an_id() {
        assert!(Clock::System.now().unix() > 1_577_836_800);
        assert_eq!(boot_id().unwrap().len(), 36);
    }
}
