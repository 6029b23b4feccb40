//! The facts of copying: what a guest's directory holds in two repositories. Reads no cluster.

use super::{prune, relative, stored};
use crate::model::{Label, PointId};
use crate::plan::copy::CopyFacts;
use crate::repository::{Debris, GuestDir, GuestKey, History, ImageFile, Repository, StoredPoint};
use anyhow::Context as _;
use std::collections::BTreeSet;

/// The directory of the same guest in another repository; `None` when this one holds nothing that
/// tells which guest it is.
///
/// # Errors
/// The directory cannot be read.
pub fn twin(source: &GuestDir, target: &Repository) -> anyhow::Result<Option<GuestDir>> {
    let history = load(source)?;
    let key: Option<&GuestKey> = history.record.as_ref().map(|record| &record.guest);
    Ok(key.map(|key| target.guest(key)))
}

/// Reads what copying a guest's points depends on; `None` when the source holds none any more.
///
/// # Errors
/// One of the directories cannot be read, or the target's is one of another cluster's guest.
pub fn copy(
    source: &GuestDir,
    target: &GuestDir,
    free_bytes: u64,
) -> anyhow::Result<Option<CopyFacts>> {
    let Some(facts) = prune(source)? else { return Ok(None) };
    let (ours, theirs) = (load(source)?, load(target)?);
    let mut unreadable: Vec<String> = ours.unreadable.iter().map(ToString::to_string).collect();
    if unreadable.is_empty() {
        unreadable.extend(ours.forbids_removal());
    }
    let arrived = theirs.debris.iter().map(|debris| arrived(source, &ours, target, debris)).sum();
    Ok(Some(CopyFacts {
        guest: facts.guest,
        source: facts.points,
        unreadable,
        target: stored(target, &theirs),
        unmarked: unmarked(&ours, &theirs),
        lacks_chain: labels(&ours)
            .filter(|label| theirs.lacks_chain(label, &ours))
            .cloned()
            .collect(),
        takes_chain: labels(&ours)
            .filter(|label| theirs.takes_chain(label, &ours))
            .cloned()
            .collect(),
        closed: theirs.forbids_increments(),
        arrived,
        free_bytes,
    }))
}

/// The points of both whose copy lacks marks of the source's.
fn unmarked(source: &History, target: &History) -> BTreeSet<PointId> {
    let lacks = |copy: &&StoredPoint| {
        let original = source.point(copy.manifest.point);
        original.is_some_and(|original| copy.attributes_with(original) != copy.attributes)
    };
    target.points.iter().filter(lacks).map(|copy| copy.manifest.point).collect()
}

fn labels(source: &History) -> impl Iterator<Item = &Label> {
    source.points.iter().map(|point| &point.manifest.label)
}

fn load(directory: &GuestDir) -> anyhow::Result<History> {
    directory.load().with_context(|| format!("read the restore points of {}", relative(directory)))
}

/// Bytes of image files in a directory of the target that a copy has begun. What cannot be read
/// counts for nothing: the room for it is asked for.
fn arrived(source: &GuestDir, history: &History, target: &GuestDir, debris: &Debris) -> u64 {
    let place = |path: &std::path::Path, of: &GuestDir| {
        path.strip_prefix(of.path()).map(std::path::Path::to_owned).ok()
    };
    let wanted = place(&debris.path, target);
    let point = history.points.iter().find(|point| place(&point.dir, source) == wanted);
    let Some(point) = point else { return 0 };
    let length = |file: &ImageFile| {
        let facts = target.disk().facts(&debris.path.join(file)).ok().flatten();
        facts.map_or(0, |facts| facts.len())
    };
    point.manifest.images.iter().map(|image| length(&image.file)).sum()
}
