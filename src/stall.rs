//! Streams that stand still: a count that moves with each byte, and whoever watches it. Not for the
//! duration of commands, which have deadlines.

use crate::cancel::Cancel;
use crate::clock::Stopwatch;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How long a stream may be without a byte unless somebody says otherwise.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(600);

/// The pulse of one stream; a clone is the same.
#[derive(Debug, Clone, Default)]
pub struct Pulse(Arc<Beats>);

#[derive(Debug, Default)]
struct Beats {
    count: AtomicU64,
    in_storage: AtomicBool,
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
        match self.0.in_storage.load(Ordering::Relaxed) {
            true => WaitsFor::Storage,
            false => WaitsFor::Repository,
        }
    }

    /// Returns when there was no beat for `limit`. At half of it `warn` is called, once each time
    /// that the stream stands still.
    pub async fn stands_still(&self, limit: Duration, warn: impl Fn()) {
        let slice = (limit / 20).clamp(Duration::from_millis(5), Duration::from_secs(1));
        let (mut seen, mut since, mut is_warned) = (self.count(), Stopwatch::start(), false);
        while since.elapsed() < limit {
            tokio::time::sleep(slice).await;
            let now = self.count();
            if now != seen {
                (seen, since, is_warned) = (now, Stopwatch::start(), false);
            } else if !is_warned && since.elapsed() >= limit / 2 {
                is_warned = true;
                warn();
            }
        }
    }

    fn count(&self) -> u64 {
        self.0.count.load(Ordering::Relaxed)
    }

    fn through_storage(&self, pass: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
        self.0.in_storage.store(true, Ordering::Relaxed);
        let count = pass();
        self.0.in_storage.store(false, Ordering::Relaxed);
        self.beat();
        count
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
        stop.cancel();
        let error = watched.read(&mut [0]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::ECANCELED));
    }
}
