//! The steps of a repair: one file put back or made again. Which and why stands in the plan.

use crate::plan::Action;
use crate::plan::repair::Mend;
use crate::repository::{GuestDir, Lock, Mending};
use anyhow::bail;

/// Carries one step out and says what was done.
///
/// # Errors
/// What is to be put back does not fit what is there, and nothing was changed; or the repository
/// refuses or fails.
pub fn step(
    directory: &GuestDir,
    lock: &Lock,
    mending: &Mending<'_>,
    action: &Action,
) -> anyhow::Result<String> {
    let place = |relative: &String| directory.path().join(relative);
    let Action::Mend(mend) = action else { bail!("{action:?} is no step of a repair") };
    Ok(match mend {
        Mend::Manifest { directory: point } => {
            directory.put_manifest_back(lock, &place(point), mending)?;
            format!("put the manifest of {point} back; its images are whole")
        }
        Mend::Index { file } => {
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
