//! Telling of a state that lasts: each of those who are told hears of it once, until it is over or
//! becomes another. Not of runs, of which each is told: that is the parent's.

use super::last::Last;
use super::{Settings, told_to};
use crate::cancel::Cancel;
use crate::notify::clean::clean;
use crate::notify::{Occasion, Sink};
use crate::report::Report;
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;

/// Who has heard of a state, after it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Everybody had before, or another run is telling it.
    Before,
    /// Everybody has now, at least one of them only now.
    Now,
    /// Somebody was not reached, or there is nobody. The next time it is tried again.
    NotAll,
}

/// Tells the report's error to every sink that has not heard it yet; what went wrong with that comes
/// back, too.
///
/// Who has heard is remembered in the file `told/NAME` of the node's state directory: the error's
/// text, then a line for each sink. It is replaced by rename after each sink that took it, so that a
/// crash, or a sink that is down, means that this one is told again, and never that it is not told.
/// Another text is another state, of which everybody hears. Where the file cannot be written, it is
/// told each time. Of several runs at once the one that holds the lock beside the file tells; the lock
/// ends with its process.
pub async fn tell_once(
    settings: &Settings,
    (occasion, report): (&Occasion, &Report),
    (state, name): (&Path, &str),
    cancel: &Cancel,
) -> (Heard, Vec<String>) {
    let mut report = clean(report, &settings.secrets);
    let text = report.error.as_deref().unwrap_or_default().replace('\n', " | ");
    report.warnings.extend(settings.problems.iter().cloned());
    let Turn::Ours(_lock) = turn(state, name) else { return (Heard::Before, Vec::new()) };
    let memory = Last::new(state, name);
    let mut heard = heard(memory.text().as_deref(), &text);
    let has_not = |(sink, _): &&(Sink, _)| !heard.contains(&sink.name());
    let missing: Vec<_> = settings.sinks.iter().filter(has_not).collect();
    if missing.is_empty() && !settings.sinks.is_empty() {
        return (Heard::Before, Vec::new());
    }
    let (mut problems, mut all) = (settings.problems.clone(), !missing.is_empty());
    for (sink, _) in missing {
        match told_to(sink, (occasion, &report), settings, cancel).await {
            Ok(()) => {
                heard.insert(sink.name());
                problems.extend(memory.remember(&remembered(&text, &heard)).err());
            }
            Err(problem) => {
                all = false;
                report.warnings.push(problem.clone());
                problems.push(problem);
            }
        }
    }
    (if all { Heard::Now } else { Heard::NotAll }, problems)
}

/// The state is over; whether anybody had been told of it.
pub fn over(state: &Path, name: &str) -> bool {
    Last::new(state, name).forget()
}

/// Whether it is this run that tells.
enum Turn {
    /// It is; the lock keeps others from it, where one can be had at all.
    Ours(Option<Flock<File>>),
    /// Another run is at it.
    Others,
}

fn turn(state: &Path, name: &str) -> Turn {
    let directory = state.join("told");
    let made = std::fs::create_dir_all(&directory);
    let Ok(file) = made.and_then(|()| File::create(directory.join(format!("{name}.lock")))) else {
        return Turn::Ours(None);
    };
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Turn::Ours(Some(lock)),
        Err(_) => Turn::Others,
    }
}

/// The sinks that have heard this text.
fn heard(memory: Option<&str>, text: &str) -> BTreeSet<String> {
    let mut lines = memory.unwrap_or_default().lines();
    match lines.next() == Some(text) {
        true => lines.map(str::to_owned).collect(),
        false => BTreeSet::new(),
    }
}

fn remembered(text: &str, heard: &BTreeSet<String>) -> String {
    let lines = std::iter::once(text).chain(heard.iter().map(String::as_str));
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Moment;
    use crate::notify::syslog;
    use crate::told::When;
    use std::os::unix::net::UnixDatagram;

    fn log(path: &Path) -> (Sink, When) {
        (Sink::Syslog(syslog::Target { socket: Some(path.to_owned()) }), When::Failure)
    }

    fn report(error: &str) -> Report {
        let span = (Moment::from_unix(0), Moment::from_unix(1));
        Report::broken_off("job run", span, error.to_owned(), 1)
    }

    async fn tell(dir: &Path, sinks: Vec<(Sink, When)>, error: &str) -> Heard {
        let settings = Settings { sinks, ..Settings::default() };
        let about = (&Occasion::default(), &report(error));
        tell_once(&settings, about, (dir, "jobs.cfg"), &Cancel::default()).await.0
    }

    #[tokio::test]
    async fn each_state_is_told_once_until_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let heard = UnixDatagram::bind(&socket).unwrap();
        heard.set_nonblocking(true).unwrap();
        let lines = || {
            let mut buffer = [0; 999];
            std::iter::from_fn(|| heard.recv(&mut buffer).ok()).count()
        };
        let tell = |error| tell(dir.path(), vec![log(&socket)], error);
        assert_eq!((tell("away\ntoo").await, lines() > 0), (Heard::Now, true));
        assert_eq!((tell("away\ntoo").await, lines()), (Heard::Before, 0));
        assert_eq!((tell("denied").await, lines() > 0), (Heard::Now, true));
        assert!(over(dir.path(), "jobs.cfg") && !over(dir.path(), "jobs.cfg"));
        assert_eq!((tell("denied").await, lines() > 0), (Heard::Now, true));
        // Another run is at it: it would be told twice.
        assert!(over(dir.path(), "jobs.cfg"));
        let lock = File::open(dir.path().join("told/jobs.cfg.lock")).unwrap();
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
        assert_eq!((tell("denied").await, lines()), (Heard::Before, 0));
        drop(lock);
        assert_eq!(tell("denied").await, Heard::Now);
    }

    #[tokio::test]
    async fn who_was_not_reached_is_told_again_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tell(dir.path(), Vec::new(), "away").await, Heard::NotAll);
        let metrics = dir.path().join("metrics");
        let file = || {
            let target = crate::notify::prometheus::Target { directory: metrics.clone() };
            (Sink::Prometheus(target), When::Always)
        };
        let socket = dir.path().join("log");
        let heard = UnixDatagram::bind(&socket).unwrap();
        heard.set_nonblocking(true).unwrap();
        let both = || vec![log(&socket), file()];
        assert_eq!(tell(dir.path(), both(), "away").await, Heard::NotAll);
        let mut buffer = [0; 999];
        while heard.recv(&mut buffer).is_ok() {}
        assert_eq!(tell(dir.path(), both(), "away").await, Heard::NotAll);
        assert!(heard.recv(&mut buffer).is_err(), "who had heard is not told again");
        std::fs::create_dir(&metrics).unwrap();
        assert_eq!(tell(dir.path(), both(), "away").await, Heard::Now);
        assert_eq!(tell(dir.path(), both(), "away").await, Heard::Before);
        assert!(heard.recv(&mut buffer).is_err());
    }

    #[tokio::test]
    async fn where_nothing_can_be_remembered_it_is_told_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("log");
        let _heard = UnixDatagram::bind(&socket).unwrap();
        let state = dir.path().join("file");
        std::fs::write(&state, "").unwrap();
        for _ in 0..2 {
            assert_eq!(tell(&state, vec![log(&socket)], "away").await, Heard::Now);
        }
    }
}
