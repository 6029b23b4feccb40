//! Work between files whose server may be gone: it is given up when it stands still, and then nobody waits
//! for it any more. Streams to and from storages are `moving`'s.

use super::Execution;
use crate::stall::{StallWatch, on_a_thread};
use anyhow::ensure;

impl Execution {
    /// Does work on a thread of its own and waits for it; blocks. Locks that the thread is to keep should it
    /// be left to itself are held by the work.
    ///
    /// # Errors
    /// It stood still: for too long, or when the user wished to stop. Then it may be done in part.
    pub(super) fn unless_it_hangs<T: Send + 'static>(
        &self,
        watch: &StallWatch<'_>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> anyhow::Result<T> {
        on_a_thread(watch, work).map_err(|hangs| {
            self.note_stuck();
            if self.stop.is_cancelled() {
                self.leave(hangs.to_string());
            }
            hangs.into()
        })
    }

    /// Notes that a thread hangs in the file system of a repository: nobody waits for it, and no other
    /// guest begins anything there.
    pub(super) fn note_stuck(&self) {
        self.state().is_stuck = true;
        self.ctx.limits.repository_hangs.cancel();
    }

    /// Nothing more is begun where a thread hangs.
    ///
    /// # Errors
    /// One does.
    pub(super) fn unless_stuck(&self) -> anyhow::Result<()> {
        let is_stuck = self.state().is_stuck;
        ensure!(!is_stuck, "the file system of the repository does not answer");
        Ok(())
    }
}
