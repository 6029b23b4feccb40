//! Shows progress on stderr: bars on a terminal, lines otherwise, nothing with `--quiet`. Never
//! writes to stdout, where results go.

use super::options::Logging;
use super::output;
use crate::model::Bytes;
use crate::progress::{Meter, Progress, Silent};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The progress that fits the place where stderr goes.
pub fn progress(logging: &Logging) -> Arc<dyn Progress> {
    if logging.quiet {
        return Arc::new(Silent);
    }
    if std::io::stderr().is_terminal() {
        return Arc::new(Bars { bars: MultiProgress::new() });
    }
    Arc::new(Lines)
}

struct Bars {
    bars: MultiProgress,
}

struct Bar(ProgressBar);

impl Progress for Bars {
    fn begin(&self, what: &str, total: u64) -> Arc<dyn Meter> {
        let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
        let template = if total == 0 {
            "{prefix:36} {spinner} {bytes:>11} {binary_bytes_per_sec:>13}"
        } else {
            "{prefix:36} {wide_bar} {bytes:>11} / {total_bytes} {binary_bytes_per_sec:>13} {eta:>4}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let bar = self.bars.add(bar);
        bar.set_prefix(output::plain(what));
        bar.enable_steady_tick(Duration::from_millis(200));
        Arc::new(Bar(bar))
    }

    fn note(&self, line: &str) {
        // A terminal that went away is no reason to stop a backup.
        let _ = self.bars.println(output::plain(line));
    }
}

impl Meter for Bar {
    fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// Without a terminal: a line per change to the world, and one per transfer every half minute.
struct Lines;

struct Line {
    what: String,
    total: u64,
    done: AtomicU64,
    next: Mutex<Instant>,
}

const INTERVAL: Duration = Duration::from_secs(30);

impl Progress for Lines {
    fn begin(&self, what: &str, total: u64) -> Arc<dyn Meter> {
        let next = Mutex::new(Instant::now() + INTERVAL);
        Arc::new(Line { what: what.to_owned(), total, done: AtomicU64::new(0), next })
    }

    fn note(&self, line: &str) {
        output::notice(line);
    }
}

impl Meter for Line {
    fn add(&self, bytes: u64) {
        let done = self.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        // Somebody else is printing: then this one need not.
        let Ok(mut next) = self.next.try_lock() else { return };
        if Instant::now() < *next {
            return;
        }
        *next = Instant::now() + INTERVAL;
        let of = if self.total == 0 { String::new() } else { format!(" of {}", Bytes(self.total)) };
        output::notice(&format!("{}: {}{of}", self.what, Bytes(done)));
    }

    fn end(&self) {}
}
