//! The user's wish to stop, and the list of what would stay if we stopped at once. Not for
//! deadlines: those belong to the commands.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Shared by everything in a run; cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Cancel {
    wish: Arc<watch::Sender<bool>>,
    open: Arc<Mutex<BTreeMap<u64, String>>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { wish: Arc::new(watch::Sender::new(false)), open: Arc::default() }
    }
}

impl Cancel {
    /// Says that the run is to end as soon as nothing half is left.
    pub fn cancel(&self) {
        self.wish.send_replace(true);
    }

    /// Whether the run is to end.
    pub fn is_cancelled(&self) -> bool {
        *self.wish.borrow()
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
        let mut wish = self.wish.subscribe();
        // The sender lives as long as `self`, so this ends only when the wish is there.
        let _ = wish.wait_for(|cancelled| *cancelled).await;
    }

    /// Notes by name what would stay if the run were killed now.
    pub fn open(&self, what: impl Into<String>) -> Open {
        let mut open = self.lock();
        let key = open.last_key_value().map_or(0, |(key, _)| key + 1);
        open.insert(key, what.into());
        Open { cancel: self.clone(), key }
    }

    /// What would stay if the run were killed now, in the order in which it was made.
    pub fn what_stays(&self) -> Vec<String> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something that would stay; dropping it says that it is gone or is meant to stay.
#[derive(Debug)]
pub struct Open {
    cancel: Cancel,
    key: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.cancel.lock().remove(&self.key);
    }
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
}
