//! Which older snapshots of its own chain a backup deletes once its point is there, and why others stay.
//! Pure.

use super::facts::{BackupFacts, SnapshotFact, VolumeFact};
use super::{Action, Item, Step};
use crate::model::SnapshotName;

/// Snapshots of this chain that are not needed once the new point is there. Nothing but this
/// chain's own whole names is ever in the list; nothing at all when the repository holds what we
/// cannot read, because a snapshot may belong to that.
pub(super) fn deletions(facts: &BackupFacts) -> Vec<Item> {
    if facts.frozen_repository.is_some() {
        return Vec::new();
    }
    let ours = |snapshot: &&SnapshotFact| is_of_chain(facts, snapshot);
    let of_volume = |volume: &VolumeFact| -> Vec<Step> {
        volume.snapshots.iter().filter(ours).flat_map(|s| deletion(facts, volume, s)).collect()
    };
    let may_go = facts.volumes.iter().filter(|volume| !volume.migrating);
    may_go.flat_map(of_volume).map(Item::Step).collect()
}

fn is_of_chain(facts: &BackupFacts, snapshot: &SnapshotFact) -> bool {
    SnapshotName::parse(&snapshot.identity.name).is_some_and(|name| name.chain == facts.chain)
}

/// A word on each volume whose older snapshots stay because it is being migrated.
pub(super) fn migrations(facts: &BackupFacts) -> impl Iterator<Item = String> + '_ {
    let holds_ours =
        |volume: &&VolumeFact| volume.snapshots.iter().any(|snapshot| is_of_chain(facts, snapshot));
    facts.volumes.iter().filter(|volume| volume.migrating).filter(holds_ours).map(|volume| {
        format!(
            "volume {} {}: its older snapshots stay, and a run after that deletes them",
            volume.volume,
            super::MIGRATING
        )
    })
}

fn deletion(facts: &BackupFacts, volume: &VolumeFact, snapshot: &SnapshotFact) -> Vec<Step> {
    let is_source = facts
        .points
        .iter()
        .flat_map(|point| &point.images)
        .any(|image| image.source == snapshot.identity);
    let reason = if is_source { "replaced as base" } else { "an interrupted run left it" };
    let (id, identity) = (volume.volume.clone(), snapshot.identity.clone());
    let mut steps = Vec::new();
    if snapshot.protected {
        let release = Action::ReleaseSnapshot { volume: id.clone(), snapshot: identity.clone() };
        steps.push(release.because("it is to be deleted"));
    }
    steps.push(Action::DeleteSnapshot { volume: id, snapshot: identity }.because(reason));
    steps
}
