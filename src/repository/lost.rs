//! Tells restore points that lost their manifest from what an interrupted run left. A point is
//! believed to have been one when a sealed copy knows it, or when points that are there need an image
//! that nothing readable holds. Not for putting it back: that is `mend.rs`.

use super::copies::{self, Copies};
use super::disk::Disk;
use super::history::{Debris, History, Unreadable, UnreadableKind};
use super::layout::{self, GuestNames};
use super::manifest::{Manifest, UnreadableManifest};
use crate::model::{Label, Moment};
use std::path::{Path, PathBuf};

/// A point's directory without a manifest.
pub(super) struct Bare {
    pub(super) dir: PathBuf,
    /// Whether image files of ours stand there.
    pub(super) holds_images: bool,
    pub(super) debris: Debris,
}

impl Bare {
    /// A directory that lacks a manifest, unless nothing of ours is in it: foreign files are left
    /// alone, with the directory around them.
    pub(super) fn of(disk: &Disk, dir: &Path, listed: &[String]) -> Option<Self> {
        let is_ours = listed.iter().any(|name| layout::is_our_file(name));
        if !is_ours && !disk.is_empty_dir(dir).unwrap_or(false) {
            return None;
        }
        let is_image =
            |name: &&String| !name.ends_with(".tmp") && layout::debris_when_unnamed(name);
        let holds_images = listed.iter().any(|name| is_image(&name));
        let debris = Debris { path: dir.to_owned(), holds_images };
        Some(Self { dir: dir.to_owned(), holds_images, debris })
    }
}

/// What is looked through.
pub(super) struct Search<'a> {
    pub(super) disk: &'a Disk,
    /// The guest's directory.
    pub(super) guest: &'a Path,
    pub(super) names: &'a GuestNames,
    pub(super) copies: &'a Copies,
}

impl Search<'_> {
    /// Sorts directories without a manifest into lost points and debris, and finds points of which
    /// nothing but the copy is there. All readable points stand in the history already.
    pub(super) fn settle(&self, bare: Vec<Bare>, history: &mut History) {
        let known = self.known(history);
        let orphan = history.needs_what_is_gone();
        for Bare { dir, holds_images, debris } in bare {
            let copy = known.iter().find(|manifest| self.place(manifest) == dir);
            let was_committed = copies::uncommitted(self.disk, self.guest, &dir).is_none();
            let (why, seq) = match (copy, &orphan) {
                (Some(copy), _) if was_committed => (BY_COPY, Some(copy.seq)),
                (copy, Some(_)) if holds_images => (BY_NEED, copy.map(|copy| copy.seq)),
                _ => {
                    history.debris.push(debris);
                    continue;
                }
            };
            let (path, why) = (dir.join(layout::MANIFEST), why.to_owned());
            let kind = UnreadableKind::Damaged;
            history.unreadable.push(Unreadable { path, why, kind, seq });
        }
        let is_there = |manifest: &Manifest| self.is_dir(&self.place(manifest));
        history.gone = known.into_iter().filter(|manifest| !is_there(manifest)).collect();
    }

    /// The copies of points that are not readable. A copy that is damaged itself says that there
    /// may be such a point, and not where.
    fn known(&self, history: &mut History) -> Vec<Manifest> {
        let mut known = Vec::new();
        let lost: Vec<_> = self.copies.points().filter(|id| history.point(*id).is_none()).collect();
        for id in lost {
            let path = self.copies.manifest_path(id);
            let (why, kind) = match self.copies.manifest(self.disk, id) {
                Ok(manifest) if self.is_of_guest(&manifest) => {
                    known.push(manifest);
                    continue;
                }
                Ok(_) => ("it is the copy of another guest's".to_owned(), UnreadableKind::Damaged),
                Err(UnreadableManifest::Newer(why)) => (why, UnreadableKind::Newer),
                Err(UnreadableManifest::Damaged(why)) => (why, UnreadableKind::Damaged),
            };
            // A point of a later version is named by its manifest, where that is there.
            let is_told = kind == UnreadableKind::Newer && history.forbids_increments().is_some();
            if !is_told {
                history.unreadable.push(Unreadable { path, why, kind, seq: None });
            }
        }
        known
    }

    fn is_of_guest(&self, manifest: &Manifest) -> bool {
        let guest = (&manifest.guest.vmid, &manifest.guest.incarnation);
        guest == (&self.names.vmid, &self.names.incarnation)
    }

    fn place(&self, manifest: &Manifest) -> PathBuf {
        point_dir(self.guest, &manifest.label, manifest.time)
    }

    /// Only what is certainly absent is gone.
    fn is_dir(&self, path: &Path) -> bool {
        self.disk.facts(path).map_or(true, |facts| facts.is_some_and(|facts| facts.is_dir()))
    }
}

/// The directory of a point.
pub(super) fn point_dir(guest: &Path, label: &Label, time: Moment) -> PathBuf {
    guest.join(label.as_str()).join(time.stamp())
}

const BY_COPY: &str = "it is missing, although the point was committed; `repair` puts it back from its sealed copy \
                       when its images are whole";
const BY_NEED: &str = "it is missing, and other points need images that no readable point holds; `repair` tells \
                       whether it can be put back";
