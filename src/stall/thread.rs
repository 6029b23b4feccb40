//! Blocking work on a thread of its own, between files whose server may be gone: then nobody can end the
//! thread, and it is left to itself. Not for streams of processes: those are ended at their pipes.

use super::{Look, Pulse, Stillness, slice};
use crate::cancel::Cancel;
use crate::progress::{Meter, Progress};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

/// What is watched, and for how long it may stand still.
pub struct StallWatch<'a> {
    /// What the work is, for warnings and errors.
    pub what: &'a str,
    /// The paths whose file systems it uses, in words.
    pub places: &'a str,
    /// Beats as it moves.
    pub pulse: &'a Pulse,
    /// How long it may be without a beat.
    pub limit: Duration,
    /// The wish to stop that the work hears by itself; it is there, too, once the work was given up.
    pub stop: &'a Cancel,
}

/// Work that was given up. Its thread may still be there, in a call that does not return.
#[derive(Debug, thiserror::Error)]
#[error(
    "{what} stood still for {} s and was given up: a file system does not answer; look at the mount and the server of {places}, and run this again",
    after.as_secs_f64()
)]
pub struct StoodStill {
    what: String,
    places: String,
    after: Duration,
}

/// Whoever wishes to stop does not wait for longer than that for what stands still.
const AFTER_A_WISH: Duration = Duration::from_secs(5);

/// Does the work and waits for it; blocks.
///
/// # Errors
/// It stood still for too long. It goes on no further should its file system come back.
///
/// # Panics
/// As the work does.
pub fn on_a_thread<T: Send + 'static>(
    watch: &StallWatch<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoodStill> {
    let (sender, receiver) = sync_channel(1);
    let thread = std::thread::spawn(move || {
        // Nobody waits any more for what was given up.
        let _ = sender.send(work());
    });
    let mut stillness = Stillness::of(watch.pulse, watch.limit);
    loop {
        match receiver.recv_timeout(slice(watch.limit)) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => unreachable!("it sent what it did before its end"),
            },
        }
        let look = stillness.look();
        let still = stillness.since.elapsed();
        let is_unwanted = watch.stop.is_cancelled() && still >= AFTER_A_WISH.min(watch.limit);
        if look == Look::Over || is_unwanted {
            watch.stop.cancel();
            let (what, places) = (watch.what.to_owned(), watch.places.to_owned());
            return Err(StoodStill { what, places, after: still });
        }
        if stillness.is_to_be_told() {
            watch.warn();
        }
    }
}

impl StallWatch<'_> {
    fn warn(&self) {
        let (half, limit) = ((self.limit / 2).as_secs_f64(), self.limit.as_secs_f64());
        let next = match self.pulse.is_silent() {
            true => "it is waited for, as it may be under way".to_owned(),
            false => format!("at {limit} s it is given up (--stall-timeout)"),
        };
        tracing::warn!("{}: no byte for {half} s; {next}", self.what);
    }
}

/// A progress whose every step is a beat.
pub struct Pulsed {
    /// Who shows it.
    pub progress: Arc<dyn Progress>,
    /// The pulse of the work that is shown.
    pub pulse: Pulse,
}

struct PulsedMeter {
    meter: Arc<dyn Meter>,
    pulse: Pulse,
}

impl Progress for Pulsed {
    fn begin(&self, what: &str, total: u64) -> Arc<dyn Meter> {
        self.pulse.beat();
        let meter = self.progress.begin(what, total);
        Arc::new(PulsedMeter { meter, pulse: self.pulse.clone() })
    }

    fn note(&self, line: &str) {
        self.progress.note(line);
    }
}

impl Meter for PulsedMeter {
    fn add(&self, bytes: u64) {
        self.pulse.beat();
        self.meter.add(bytes);
    }

    fn end(&self) {
        self.meter.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch<'a>(pulse: &'a Pulse, stop: &'a Cancel) -> StallWatch<'a> {
        let limit = Duration::from_millis(100);
        StallWatch { what: "copy daily", places: "/a and /b", pulse, limit, stop }
    }

    #[test]
    fn work_that_stands_still_is_given_up_and_told_to_stop() {
        let (pulse, stop) = (Pulse::default(), Cancel::default());
        let (hangs, ends) = sync_channel::<()>(0);
        let error = on_a_thread(&watch(&pulse, &stop), move || ends.recv()).unwrap_err();
        assert!(stop.is_cancelled());
        drop(hangs);
        let text = error.to_string();
        assert!(
            text.contains("copy daily stood still for 0.1") && text.contains("/a and /b"),
            "{text}"
        );
    }

    #[test]
    fn work_that_beats_may_take_as_long_as_it_takes_and_an_fsync_too() {
        let (pulse, stop) = (Pulse::default(), Cancel::default());
        let beats = pulse.clone();
        let done = on_a_thread(&watch(&pulse, &stop), move || {
            beats.silently(|| std::thread::sleep(Duration::from_millis(350)));
            7
        });
        assert_eq!(done.unwrap(), 7);
        assert!(!stop.is_cancelled());
    }

    #[test]
    fn a_wish_to_stop_is_no_reason_to_leave_what_ends_by_itself() {
        let (pulse, stop) = (Pulse::default(), Cancel::default());
        stop.cancel();
        assert_eq!(on_a_thread(&watch(&pulse, &stop), || 7).unwrap(), 7);
    }
}
