//! Streams that stand still: a count that moves with each byte, and whoever watches it. Not for the
//! duration of commands, which have deadlines.

mod thread;

pub use thread::{Pulsed, StallWatch, StoodStill, on_a_thread};

use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a stream may be without a byte unless somebody says otherwise.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The pulse of one stream; a clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    count: AtomicU64,
    in_storage: AtomicU64,
    silent: AtomicU64,
}

/// Who is waited for while a stream stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// The tool at the storage's end of the stream.
    Storage,
    /// What is on our side of it: the repository's file system.
    Repository,
}

impl Pulse {
    /// Something moved, or waited on purpose.
    pub fn beat(&self) {
        self.0.count.fetch_add(1, Ordering::Relaxed);
    }

    /// For whom the stream waits now.
    pub fn waits_for(&self) -> WaitsFor {
        match self.0.in_storage.load(Ordering::Relaxed) > 0 {
            true => WaitsFor::Storage,
            false => WaitsFor::Repository,
        }
    }

    /// Does work that tells nothing until its end, as an fsync: nobody can tell it from a stream that
    /// stands still, so that it is warned of and never given up.
    pub fn silently<T>(&self, work: impl FnOnce() -> T) -> T {
        self.0.silent.fetch_add(1, Ordering::Relaxed);
        let done = work();
        self.0.silent.fetch_sub(1, Ordering::Relaxed);
        self.beat();
        done
    }

    /// Whether such work is under way.
    fn is_silent(&self) -> bool {
        self.0.silent.load(Ordering::Relaxed) > 0
    }

    /// Returns when there was no beat for `limit`. At half of it `warn` is called, once each time
    /// that the stream stands still.
    pub async fn stands_still(&self, limit: Duration, warn: impl Fn()) {
        let mut stillness = Stillness::of(self, limit);
        while stillness.look() != Look::Over {
            if stillness.is_to_be_told() {
                warn();
            }
            tokio::time::sleep(slice(limit)).await;
        }
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Waits for the storage, on one of the threads of the work.
    pub fn through_storage<T>(&self, pass: impl FnOnce() -> T) -> T {
        self.0.in_storage.fetch_add(1, Ordering::Relaxed);
        let done = pass();
        self.0.in_storage.fetch_sub(1, Ordering::Relaxed);
        self.beat();
        done
    }
}

/// Between two looks at a pulse.
fn slice(limit: Duration) -> Duration {
    (limit / 20).clamp(Duration::from_millis(5), Duration::from_secs(1))
}

/// How long a pulse has not beaten.
struct Stillness<'a> {
    pulse: &'a Pulse,
    limit: Duration,
    seen: u64,
    since: Stopwatch,
    is_told: bool,
}

/// What a look at a pulse shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// It beats, or has not stood still for long.
    GoesOn,
    /// It stood still for as long as it may.
    Over,
}

impl<'a> Stillness<'a> {
    fn of(pulse: &'a Pulse, limit: Duration) -> Self {
        Self { pulse, limit, seen: pulse.count(), since: Stopwatch::start(), is_told: false }
    }

    fn look(&mut self) -> Look {
        let now = self.pulse.count();
        if now != self.seen {
            (self.seen, self.since, self.is_told) = (now, Stopwatch::start(), false);
        }
        if self.since.elapsed() < self.limit {
            return Look::GoesOn;
        }
        if !self.pulse.is_silent() {
            return Look::Over;
        }
        // Told again after as long a time.
        (self.since, self.is_told) = (Stopwatch::start(), false);
        Look::GoesOn
    }

    /// Whether it has stood still for half of the time, and nobody was told.
    fn is_to_be_told(&mut self) -> bool {
        let is_due = !self.is_told && self.since.elapsed() >= self.limit / 2;
        self.is_told |= is_due;
        is_due
    }
}

/// The storage's end of a stream: tells its pulse, and ends when it is to.
pub struct Watched<S> {
    stream: S,
    pulse: Pulse,
    stop: Cancel,
}

impl<S> Watched<S> {
    /// Watches `stream`; once `stop` is there, the next byte is an error (ECANCELED).
    pub fn new(stream: S, pulse: &Pulse, stop: &Cancel) -> Self {
        Self { stream, pulse: pulse.clone(), stop: stop.clone() }
    }
}

impl<S: Read> Read for Watched<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check()?;
        let Self { stream, pulse, .. } = self;
        pulse.through_storage(|| stream.read(buffer))
    }
}

impl<S: Write> Write for Watched<S> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stop.check()?;
        let Self { stream, pulse, .. } = self;
        pulse.through_storage(|| stream.write(buffer))
    }

    fn flush(&mut self) -> io::Result<()> {
        let Self { stream, pulse, .. } = self;
        pulse.through_storage(|| stream.flush().map(|()| 0)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    const LIMIT: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn a_stream_without_a_byte_is_warned_of_at_half_of_the_limit_and_given_up_at_all_of_it() {
        let (pulse, begun, warned) = (Pulse::default(), Stopwatch::start(), AtomicUsize::new(0));
        let at = std::sync::Mutex::new(Vec::new());
        pulse
            .stands_still(LIMIT, || {
                warned.fetch_add(1, Ordering::Relaxed);
                at.lock().unwrap().push(begun.elapsed().as_secs());
            })
            .await;
        assert_eq!((warned.into_inner(), begun.elapsed().as_secs()), (1, 600));
        assert_eq!(*at.lock().unwrap(), [300]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_byte_every_nine_minutes_is_slow_and_not_still() {
        let (pulse, warned) = (Pulse::default(), AtomicUsize::new(0));
        let other = pulse.clone();
        let drips = tokio::spawn(async move {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_secs(540)).await;
                other.beat();
            }
        });
        let begun = Stopwatch::start();
        pulse.stands_still(LIMIT, || _ = warned.fetch_add(1, Ordering::Relaxed)).await;
        drips.await.unwrap();
        assert!(begun.elapsed() > Duration::from_secs(20 * 540 + 599), "{:?}", begun.elapsed());
        assert_eq!(warned.into_inner(), 21, "each time that it stood still for five minutes");
    }

    #[test]
    fn who_is_waited_for_can_be_told() {
        let (pulse, stop) = (Pulse::default(), Cancel::default());
        struct Asks(Pulse, WaitsFor);
        impl Read for Asks {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                self.1 = self.0.waits_for();
                Ok(0)
            }
        }
        let mut watched = Watched::new(Asks(pulse.clone(), WaitsFor::Repository), &pulse, &stop);
        assert_eq!(watched.read(&mut [0]).unwrap(), 0);
        assert_eq!(watched.stream.1, WaitsFor::Storage);
        assert_eq!(pulse.waits_for(), WaitsFor::Repository);
        // One of several threads is back from the storage.
        let asked = pulse.through_storage(|| {
            pulse.through_storage(|| ());
            pulse.waits_for()
        });
        assert_eq!(asked, WaitsFor::Storage);
        stop.cancel();
        let error = watched.read(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ECANCELED));
    }
}
