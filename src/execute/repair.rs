//! The steps of a repair: one file put back or made again. Which and why stands in the plan.

use super::{Execution, Stopped, StoredGuest};
use crate::plan::repair::Mend;
use crate::repository::Mending;
use std::sync::Arc;

impl Execution {
    /// Puts back or makes again what a step names, and says what was done.
    ///
    /// # Errors
    /// What is to be put back does not fit what is there, and nothing was changed; or the repository
    /// refuses or fails.
    pub(super) async fn mend(self: &Arc<Self>, mend: &Mend) -> Result<(), Stopped> {
        let mend = mend.clone();
        let done = self.on_disk(move |execution, stored| {
            let progress = |_: u64| execution.ctx.cancel.check();
            let threads = execution.ctx.limits.image.threads;
            let done = mended(stored, &Mending { threads, progress: &progress }, &mend)?;
            execution.held.points().change();
            Ok(done)
        });
        match done.await {
            Ok(done) => self.change(done),
            // It was broken off between two pieces of an image, and tells nothing of what it read.
            Err(_) if self.ctx.cancel.is_cancelled() => return Err(Stopped::Interrupted),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

fn mended(stored: &StoredGuest, mending: &Mending<'_>, mend: &Mend) -> anyhow::Result<String> {
    let StoredGuest { directory, lock } = stored;
    let place = |relative: &String| directory.path().join(relative);
    Ok(match mend {
        Mend::Manifest { directory: point } => {
            directory.put_manifest_back(lock, &place(point), mending)?;
            format!("put the manifest of {point} back; its images are whole")
        }
        Mend::Index { file, .. } => {
            directory.rebuild_index(lock, &place(file))?;
            format!("made the index of {file} again")
        }
        Mend::Attributes { directory: of, point } => {
            directory.put_attributes_back(lock, *point)?;
            format!("wrote the attributes of {of} again")
        }
        Mend::GuestRecord => {
            directory.put_record_back(lock)?;
            "wrote guest.json again".to_owned()
        }
        Mend::SealedCopies { points } => {
            directory.write_copies(lock, points)?;
            format!("wrote sealed copies of {} manifests", points.len())
        }
        Mend::ForgetGone { point, label, moment } => {
            directory.forget_gone(lock, *point)?;
            format!("forgot point {label} {moment}, which is gone with its directory")
        }
    })
}
