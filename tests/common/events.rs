//! What happens during a run, told to whoever watches: changes of the world and commands on nodes.
//! Knows nothing of what they mean.

use pve_ferry::progress::{Meter, Progress, Silent};
use std::sync::{Arc, Mutex, PoisonError};

type Watcher = Box<dyn FnMut(&str) + Send>;

/// The log of a run and its watcher.
#[derive(Default)]
pub struct Events {
    log: Mutex<Vec<String>>,
    watcher: Mutex<Option<Watcher>>,
}

impl Events {
    /// From now on `watcher` is told every event before it takes effect. It may run operations of
    /// its own: their events are logged and not told.
    pub fn watch(&self, watcher: impl FnMut(&str) + Send + 'static) {
        *self.lock_watcher() = Some(Box::new(watcher));
    }

    /// Nobody is told any more.
    pub fn unwatch(&self) {
        *self.lock_watcher() = None;
    }

    /// All events so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells an event.
    pub fn tell(&self, event: &str) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(event.to_owned());
        let watcher = self.lock_watcher().take();
        if let Some(mut watcher) = watcher {
            watcher(event);
            self.lock_watcher().get_or_insert(watcher);
        }
    }

    fn lock_watcher(&self) -> std::sync::MutexGuard<'_, Option<Watcher>> {
        self.watcher.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Turns the notes of a run into events.
pub struct Notes(pub Arc<Events>);

impl Progress for Notes {
    fn begin(&self, what: &str, _total: u64) -> Arc<dyn Meter> {
        self.0.tell(&format!("transfer {what}"));
        Arc::new(Silent)
    }

    fn note(&self, line: &str) {
        self.0.tell(&format!("note {line}"));
    }
}
