//! Keeps all transfers of a run together below a rate. Knows bytes and time, not what is moved.

use crate::model::Rate;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A limit that several threads share; a clone is the same limit.
#[derive(Debug, Clone, Default)]
pub struct Throttle(Option<Arc<Bucket>>);

#[derive(Debug)]
struct Bucket {
    rate: Rate,
    /// When everything that was let through so far has taken its time.
    free_at: Mutex<Instant>,
}

/// What may be caught up with after a pause: a slow source must not make the next second fast.
const BURST: Duration = Duration::from_millis(200);

/// How soon whoever waits hears that it is to end: a record of 4 MiB takes 40 s at 100 KiB/s.
const SLICE: Duration = Duration::from_millis(200);

impl Throttle {
    /// The limit of a run; none lets everything through.
    pub fn new(rate: Option<Rate>) -> Self {
        let bucket = |rate| Arc::new(Bucket { rate, free_at: Mutex::new(Instant::now()) });
        Self(rate.map(bucket))
    }

    /// Waits until so many more bytes may pass, and asks `go_on` several times in a second whether
    /// it is to.
    ///
    /// # Errors
    /// That of `go_on`.
    pub fn pass(&self, bytes: usize, go_on: &dyn Fn() -> io::Result<()>) -> io::Result<()> {
        let Some(bucket) = &self.0 else { return Ok(()) };
        let begun = Instant::now();
        let wait = bucket.wait_for(bytes, begun);
        loop {
            go_on()?;
            let left = wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(SLICE));
        }
    }

    /// A reader that keeps to the limit, and ends with the error of `go_on`.
    pub fn reader<R: Read, F: Fn() -> io::Result<()>>(
        &self,
        reader: R,
        go_on: F,
    ) -> impl Read + use<R, F> {
        Throttled { reader, throttle: self.clone(), go_on }
    }
}

impl Bucket {
    fn wait_for(&self, bytes: usize, now: Instant) -> Duration {
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        // Bytes and rates are far below 2^53, where a float is exact enough for a pause.
        #[allow(clippy::cast_precision_loss)]
        let takes = bytes as f64 / self.rate.bytes_per_second() as f64;
        *free_at = (*free_at).max(earliest) + Duration::from_secs_f64(takes);
        free_at.saturating_duration_since(now)
    }
}

struct Throttled<R, F> {
    reader: R,
    throttle: Throttle,
    go_on: F,
}

impl<R: Read, F: Fn() -> io::Result<()>> Read for Throttled<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.throttle.pass(count, &self.go_on)?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn bytes_take_the_time_that_the_rate_says_and_pauses_are_not_saved_up() {
        let start = Instant::now();
        let free_at = Mutex::new(start);
        let bucket = Bucket { rate: "1000B/s".parse().unwrap(), free_at };
        let millis = |d: Duration| d.as_millis();
        assert_eq!(millis(bucket.wait_for(500, start)), 500);
        assert_eq!(millis(bucket.wait_for(500, start)), 1000);
        let later = start + Duration::from_secs(60);
        assert_eq!(millis(bucket.wait_for(100, later)), 0, "a short burst passes");
        assert_eq!(millis(bucket.wait_for(600, later)), 500, "a minute's pause does not");
    }

    #[test]
    fn without_a_rate_nothing_waits() {
        let mut read = Vec::new();
        Throttle::default().reader(&b"abc"[..], || Ok(())).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"abc");
    }

    /// 4 MiB at 1 KiB/s are more than an hour: a throttle that is deaf meanwhile never ends here.
    #[test]
    fn who_waits_for_a_low_rate_hears_that_it_is_to_end() {
        let throttle = Throttle::new(Some("1KiB/s".parse().unwrap()));
        let asked = Cell::new(0);
        let go_on = || {
            asked.set(asked.get() + 1);
            if asked.get() < 3 { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
        };
        assert!(throttle.pass(4 << 20, &go_on).is_err());
        assert_eq!(asked.get(), 3);
    }
}
