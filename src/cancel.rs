//! The user's wish to stop, and the lists of what would stay and of what is waited for if we stopped
//! at once. Not for deadlines: those belong to the commands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// Shared by everything in a run; cloning it is cheap.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    wish: CancellationToken,
    lists: Arc<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    open: List,
    busy: List,
}

type List = Mutex<BTreeMap<u64, String>>;

impl Cancel {
    /// Says that the run is to end as soon as nothing half is left.
    pub fn cancel(&self) {
        self.wish.cancel();
    }

    /// Whether the run is to end.
    pub fn is_cancelled(&self) -> bool {
        self.wish.is_cancelled()
    }

    /// A part of the run that hears this wish, and can be stopped by itself. What it notes stands in
    /// the same lists.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { wish: self.wish.child_token(), lists: Arc::clone(&self.lists) }
    }

    /// Stops reading or writing files once it was called: the error is ECANCELED.
    ///
    /// # Errors
    /// The wish is there.
    pub fn check(&self) -> std::io::Result<()> {
        match self.is_cancelled() {
            true => Err(std::io::Error::from_raw_os_error(nix::libc::ECANCELED)),
            false => Ok(()),
        }
    }

    /// Returns when the run is to end; never before.
    pub async fn cancelled(&self) {
        self.wish.cancelled().await;
    }

    /// Notes by name what would stay if the run were killed now.
    pub fn open(&self, what: impl Into<String>) -> Open {
        self.note(|lists| &lists.open, what.into())
    }

    /// Notes by name what is under way; a user who wishes to stop is told of what is waited for still.
    pub fn busy_with(&self, what: impl Into<String>) -> Open {
        self.note(|lists| &lists.busy, what.into())
    }

    /// What would stay if the run were killed now, in the order in which it was made.
    pub fn what_stays(&self) -> Vec<String> {
        lock(&self.lists.open).values().cloned().collect()
    }

    /// What is under way, in the order in which it was begun.
    pub fn what_is_under_way(&self) -> Vec<String> {
        lock(&self.lists.busy).values().cloned().collect()
    }

    fn note(&self, list: fn(&Lists) -> &List, what: String) -> Open {
        let mut noted = lock(list(&self.lists));
        let key = noted.last_key_value().map_or(0, |(key, _)| key + 1);
        noted.insert(key, what);
        Open { lists: Arc::clone(&self.lists), list, key }
    }
}

/// Something that is noted; dropping it takes the note back.
#[derive(Debug)]
pub struct Open {
    lists: Arc<Lists>,
    list: fn(&Lists) -> &List,
    key: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        lock((self.list)(&self.lists)).remove(&self.key);
    }
}

fn lock(list: &List) -> MutexGuard<'_, BTreeMap<u64, String>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wish_wakes_everybody_and_open_things_are_named_while_they_are_open() {
        let cancel = Cancel::default();
        let first = cancel.open("snapshot a");
        let second = cancel.open("snapshot b");
        assert_eq!(cancel.what_stays(), ["snapshot a", "snapshot b"]);
        drop(first);
        assert_eq!(cancel.what_stays(), ["snapshot b"]);
        drop(second);
        assert!(cancel.what_stays().is_empty());

        let waiter = tokio::spawn({
            let cancel = cancel.clone();
            async move { cancel.cancelled().await }
        });
        assert!(!cancel.is_cancelled());
        cancel.cancel();
        waiter.await.unwrap();
        assert!(cancel.is_cancelled());
    }

    #[tokio::test]
    async fn a_part_stops_alone_and_with_the_whole_and_its_notes_are_the_runs() {
        let run = Cancel::default();
        let (part, other) = (run.child(), run.child());
        let _work = part.busy_with("delete snapshot a");
        assert_eq!(run.what_is_under_way(), ["delete snapshot a"]);
        assert!(run.what_stays().is_empty());
        part.cancel();
        assert_eq!([&run, &part, &other].map(Cancel::is_cancelled), [false, true, false]);
        run.cancel();
        other.cancelled().await;
    }
}
