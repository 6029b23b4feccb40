//! The steps with one restore point that a person named: it goes, is hidden or marked. What rules of
//! retention remove is `prune`'s.

use super::{Execution, Held, Stopped, StoredGuest};
use crate::plan::{NamedPoint, RemovedPoint};
use crate::repository::{Attributes, StoredPoint};
use anyhow::ensure;
use std::sync::Arc;

/// The point, and what was done with it in words.
type Done = anyhow::Result<(StoredPoint, String)>;

impl Execution {
    /// Does it and says what was done.
    pub(super) async fn on_named(
        self: &Arc<Self>,
        act: impl FnOnce(&Held, &StoredGuest) -> Done + Send + 'static,
    ) -> Result<(), Stopped> {
        let vmid = self.plan.guest.vmid;
        let done = self.on_disk(move |execution, stored| {
            let (point, done) = act(&execution.held, stored)?;
            let manifest = &point.manifest;
            Ok(format!("point {} {} of guest {vmid}: {done}", manifest.label, manifest.time))
        });
        self.change(done.await?);
        Ok(())
    }
}

/// Takes it from the user and leaves its images to the points that need them.
pub(super) fn hide(held: &Held, stored: &StoredGuest, wanted: &RemovedPoint) -> Done {
    let point = unprotected(stored, wanted)?;
    held.points().change();
    stored.directory.hide_point(&stored.lock, &point)?;
    Ok((point, "hidden; newer points need its images, and its files go with them".to_owned()))
}

/// Removes it.
pub(super) fn delete(held: &Held, stored: &StoredGuest, wanted: &RemovedPoint) -> Done {
    let point = unprotected(stored, wanted)?;
    held.points().change();
    let stays = stored.directory.delete_point(&stored.lock, &point)?;
    let stays = stays.map_or_else(String::new, |foreign| format!("; {foreign}"));
    Ok((point, format!("removed{stays}")))
}

fn unprotected(stored: &StoredGuest, wanted: &RemovedPoint) -> anyhow::Result<StoredPoint> {
    let point = stored.point(wanted.id, &wanted.directory)?;
    ensure!(!point.is_protected(), "it is protected now; it was not touched");
    Ok(point)
}

/// Keeps it whatever the rules of retention say.
pub(super) fn protect(stored: &StoredGuest, wanted: &NamedPoint, notes: Option<String>) -> Done {
    let mark = |marks| Attributes { protected: true, ..marks };
    Ok((marked(stored, wanted, notes, mark)?, "protected".to_owned()))
}

/// Lets the rules of retention apply to it again.
pub(super) fn unprotect(stored: &StoredGuest, wanted: &NamedPoint, notes: Option<String>) -> Done {
    let mark = |marks| Attributes { protected: false, ..marks };
    Ok((marked(stored, wanted, notes, mark)?, "not protected".to_owned()))
}

fn marked(
    stored: &StoredGuest,
    wanted: &NamedPoint,
    notes: Option<String>,
    mark: impl FnOnce(Attributes) -> Attributes,
) -> anyhow::Result<StoredPoint> {
    let point = stored.point(wanted.id, &wanted.directory)?;
    let notes = notes.unwrap_or_else(|| point.attributes.notes.clone());
    let marks = mark(Attributes { notes, ..point.attributes.clone() });
    stored.directory.set_attributes(&stored.lock, &point, &marks)?;
    Ok(point)
}
