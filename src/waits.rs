//! For whom this program waits: kept as long as it waits, told to the job that it is a run of. Takes
//! no lock and ends no wait: whoever waits says so here.
//!
//! There is one list for the whole program, as for its log: a run waits at several places and for
//! several guests at once, and the program is the run of one job at most.

use crate::clock::Clock;
use crate::model::{Guest, Moment};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The target of the one log line that says for whom a run waits: people want to see that.
pub const WAITING: &str = "pve_ferry::waiting";

/// One wait.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Wait {
    /// What it waits for: a guest's directory in a repository, or a guest that PVE holds.
    pub object: String,
    /// Since when it waits.
    pub since: Moment,
    /// Who holds it now.
    pub holder: WaitedFor,
}

/// Who holds what is waited for, as far as its lock tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WaitedFor {
    /// What it does there: a command of ours, or PVE's word.
    pub what: String,
    /// The job that it is a run of; null when it is none, or the lock does not tell.
    pub job: Option<String>,
    /// Its host; null when the lock does not tell, as PVE's own never do.
    pub host: Option<String>,
    /// Its process there.
    pub pid: Option<u32>,
    /// Since when it holds the lock.
    pub since: Option<Moment>,
}

/// Hears of the waits of this program.
pub trait Listener: Send + Sync {
    /// The job that the program is a run of.
    fn job(&self) -> &str;
    /// A wait began. Called once for each.
    fn begun(&self, wait: &Wait);
    /// These are all waits now, in the order in which they began. Called at every change, one call
    /// after another; a wait must not begin in it.
    fn changed(&self, all: Vec<Wait>);
}

/// Says that this program is a run of a job until what comes back is dropped.
pub fn listen(listener: Arc<dyn Listener>) -> Listening {
    PROGRAM.lock().listener = Some(listener);
    Listening(())
}

/// The job that this program is a run of.
pub fn job() -> Option<String> {
    PROGRAM.lock().listener.as_ref().map(|listener| listener.job().to_owned())
}

/// As long as it lives somebody listens.
#[derive(Debug)]
pub struct Listening(());

impl Drop for Listening {
    fn drop(&mut self) {
        PROGRAM.lock().listener = None;
    }
}

/// Something that may have to be waited for. The wait begins with [`Waiting::is_for`] and ends when
/// this is dropped, whatever ends it.
pub struct Waiting {
    waits: &'static Waits,
    object: String,
    number: Option<u64>,
}

impl Waiting {
    /// What will be waited for, if it is held.
    pub fn at(object: impl fmt::Display) -> Self {
        Self { waits: &PROGRAM, object: object.to_string(), number: None }
    }

    /// A guest that PVE may hold for something else.
    pub fn at_guest(guest: &Guest) -> Self {
        Self::at(format_args!("guest {} {} on {}", guest.vmid, guest.name, guest.node))
    }

    /// It is held, and waited for. The first time the wait begins, and is said; after that it goes on,
    /// perhaps for somebody else who came before us, which is noted and not said again.
    pub fn is_for(&mut self, holder: WaitedFor) {
        let mut waits = self.waits.lock();
        match self.number {
            Some(number) => waits.goes_on(number, holder),
            None => {
                let (object, since) = (self.object.clone(), Clock::System.now());
                let wait = Wait { object, since, holder };
                tracing::info!(target: WAITING, "waits for {wait}");
                self.number = Some(waits.begins(wait));
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.waits.lock().ends(number);
        }
    }
}

impl WaitedFor {
    /// PVE, of which no more is known than its word for what it does.
    pub fn pve(word: &str) -> Self {
        Self { what: format!("PVE ({word})"), job: None, host: None, pid: None, since: None }
    }
}

impl fmt::Display for WaitedFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if let Some(host) = &self.host {
            write!(f, " on host {host}")?;
        }
        let process = self.pid.map(|pid| format!("process {pid}"));
        let job = self.job.as_ref().map(|job| format!("job {job}"));
        let known: Vec<String> = job.into_iter().chain(process).collect();
        if !known.is_empty() {
            write!(f, " ({})", known.join(", "))?;
        }
        self.since.map_or(Ok(()), |since| write!(f, " since {since}"))
    }
}

/// `backup on host pve2 (job nightly, process 7) since ..., which works on DIRECTORY`.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Of a lock that does not tell its host, it is not certain that anybody works.
        let does = if self.holder.host.is_some() { "works on" } else { "holds" };
        write!(f, "{}, which {does} {}", self.holder, self.object)
    }
}

static PROGRAM: Waits = Waits(Mutex::new(State { next: 0, all: BTreeMap::new(), listener: None }));

struct Waits(Mutex<State>);

struct State {
    next: u64,
    all: BTreeMap<u64, Wait>,
    listener: Option<Arc<dyn Listener>>,
}

impl Waits {
    /// A panic elsewhere leaves the list whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn begins(&mut self, wait: Wait) -> u64 {
        let number = self.next;
        self.next += 1;
        if let Some(listener) = &self.listener {
            listener.begun(&wait);
        }
        self.all.insert(number, wait);
        self.tell();
        number
    }

    fn goes_on(&mut self, number: u64, holder: WaitedFor) {
        let Some(wait) = self.all.get_mut(&number).filter(|wait| wait.holder != holder) else {
            return;
        };
        wait.holder = holder;
        self.tell();
    }

    fn ends(&mut self, number: u64) {
        self.all.remove(&number);
        self.tell();
    }

    fn tell(&self) {
        if let Some(listener) = &self.listener {
            listener.changed(self.all.values().cloned().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Listener for Heard {
        fn job(&self) -> &str {
            "nightly"
        }
        fn begun(&self, wait: &Wait) {
            self.0.lock().unwrap().push(format!("begun {wait}"));
        }
        fn changed(&self, all: Vec<Wait>) {
            let all = all.iter().map(|wait| format!("{}: {}", wait.object, wait.holder.what));
            self.0.lock().unwrap().push(all.collect::<Vec<_>>().join("; "));
        }
    }

    fn held_by(what: &str) -> WaitedFor {
        let since = Some(Moment::from_unix(0));
        let (job, host) = (Some("other".to_owned()), Some("pve2".to_owned()));
        WaitedFor { what: what.to_owned(), job, host, pid: Some(7), since }
    }

    #[test]
    fn a_wait_begins_once_goes_on_for_others_and_ends_however_it_is_left() {
        let heard = Arc::new(Heard::default());
        let listener: Option<Arc<dyn Listener>> = Some(heard.clone());
        let state = State { next: 0, all: BTreeMap::new(), listener };
        let waits: &'static Waits = Box::leak(Box::new(Waits(Mutex::new(state))));
        let at = |object: &str| Waiting { waits, object: object.to_owned(), number: None };
        let (mut one, two, mut three) = (at("/r/100"), at("/r/101"), at("guest 102"));
        one.is_for(held_by("backup"));
        one.is_for(held_by("backup"));
        three.is_for(WaitedFor::pve("backup"));
        one.is_for(held_by("prune"));
        // What was never held was never waited for.
        drop(two);
        drop(one);
        drop(three);
        let expected = [
            "begun backup on host pve2 (job other, process 7) since 1970-01-01T00:00:00Z, which works on /r/100",
            "/r/100: backup",
            "begun PVE (backup), which holds guest 102",
            "/r/100: backup; guest 102: PVE (backup)",
            "/r/100: prune; guest 102: PVE (backup)",
            "guest 102: PVE (backup)",
            "",
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
