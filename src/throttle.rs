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

impl Throttle {
    /// The limit of a run; none lets everything through.
    pub fn new(rate: Option<Rate>) -> Self {
        let bucket = |rate| Arc::new(Bucket { rate, free_at: Mutex::new(Instant::now()) });
        Self(rate.map(bucket))
    }

    /// Waits until so many more bytes may pass.
    pub fn pass(&self, bytes: usize) {
        if let Some(bucket) = &self.0 {
            thread::sleep(bucket.wait_for(bytes, Instant::now()));
        }
    }

    /// A reader that keeps to the limit.
    pub fn reader<R: Read>(&self, reader: R) -> impl Read + use<R> {
        Throttled { reader, throttle: self.clone() }
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

struct Throttled<R> {
    reader: R,
    throttle: Throttle,
}

impl<R: Read> Read for Throttled<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.throttle.pass(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        Throttle::default().reader(&b"abc"[..]).read_to_end(&mut read).unwrap();
        assert_eq!(read, b"abc");
    }
}
