//! Which older snapshots of its own chain a backup deletes once its point is there, and why others stay.
//! Pure.

use super::facts::{BackupFacts, DepartedFact, OrphanFact, SnapshotFact, VolumeFact};
use super::{Action, Item, Step, VolumeAction};
use crate::model::{SnapshotName, VolumeRef};

/// Why no snapshot of a volume goes for the time being. Ceph aborts the client that next writes to a
/// part which was not copied yet (its issue 15831), and that client is the guest.
pub(super) const MIGRATING: &str = "is being migrated (rbd migration), and until `rbd migration commit` a deleted snapshot would make the guest's writes fail";

/// Snapshots of this chain that are not needed once the new point is there. Nothing but this
/// chain's own whole names is ever in the list; nothing at all when the repository holds what we
/// cannot read, because a snapshot may belong to that.
pub(super) fn deletions(facts: &BackupFacts) -> Vec<Item> {
    if facts.frozen_repository.is_some() {
        return Vec::new();
    }
    let of_volume = |volume: &VolumeFact| -> Vec<Step> {
        let ours = own(facts, &volume.snapshots);
        ours.flat_map(|s| deletion(&volume.volume, s, &replaced(facts, s))).collect()
    };
    let present = facts.volumes.iter().filter(|volume| !volume.migrating).flat_map(of_volume);
    present.chain(departures(facts)).map(Item::Step).collect()
}

/// Snapshots on volumes that the guest does not give to its backup any more: no increment will begin
/// at them, and they would pin overwritten blocks for ever. Only a point that is whole tells that a
/// disk is none of the guest's: one that cannot be read now may be this very one.
fn departures(facts: &BackupFacts) -> Vec<Step> {
    if !is_whole(facts) {
        return Vec::new();
    }
    let may_go = facts.departed.iter().filter(|departed| !departed.migrating);
    let of_volume = |departed: &DepartedFact| -> Vec<Step> {
        let reason = format!("disk {} is not in this guest's backup any more", departed.disk);
        let ours = own(facts, &departed.snapshots);
        ours.flat_map(|s| deletion(&departed.volume, s, &reason)).collect()
    };
    may_go.flat_map(of_volume).collect()
}

fn is_whole(facts: &BackupFacts) -> bool {
    facts.skipped.iter().all(|skipped| skipped.by_configuration)
}

/// A word on each volume of which a snapshot stays that could have gone.
pub(super) fn stays(facts: &BackupFacts) -> impl Iterator<Item = String> + '_ {
    let has_own = move |snapshots: &[SnapshotFact]| own(facts, snapshots).next().is_some();
    let present = facts.volumes.iter().filter(move |v| v.migrating && has_own(&v.snapshots));
    let present = present.map(|volume| postponed(&volume.volume));
    let departed = facts.departed.iter().filter(move |d| has_own(&d.snapshots));
    let departed = departed.filter_map(move |departed| match (departed.migrating, is_whole(facts)) {
        (true, _) => Some(postponed(&departed.volume)),
        (false, true) => None,
        (false, false) => Some(format!(
            "volume {}, which was {}, bears a snapshot of this guest's backups still: a run that saves every disk deletes it",
            departed.volume, departed.disk
        )),
    });
    present.chain(departed).chain(facts.orphans.iter().map(orphaned))
}

/// Whose snapshots they are is known, but not whether the guest comes back: a person decides.
fn orphaned(orphan: &OrphanFact) -> String {
    let OrphanFact { volume, chain, guest } = orphan;
    format!(
        "volume {volume} bears a snapshot of the backups of {guest}, which is not in this cluster any more: it keeps all that is overwritten since; `pve-ferry reset --volume {volume} --chain {chain}` deletes it"
    )
}

fn postponed(volume: &VolumeRef) -> String {
    format!(
        "volume {volume} {}: its older snapshots stay, and a run after that deletes them",
        MIGRATING
    )
}

/// The snapshots of this chain.
fn own<'a>(
    facts: &'a BackupFacts,
    snapshots: &'a [SnapshotFact],
) -> impl Iterator<Item = &'a SnapshotFact> {
    snapshots.iter().filter(|snapshot| {
        SnapshotName::parse(&snapshot.identity.name)
            .is_some_and(|name| Some(name.chain) == facts.chain)
    })
}

fn replaced(facts: &BackupFacts, snapshot: &SnapshotFact) -> String {
    let mut images = facts.points.iter().flat_map(|point| &point.images);
    let is_source = images.any(|image| image.source == snapshot.identity);
    if is_source { "replaced as base" } else { "an interrupted run left it" }.to_owned()
}

fn deletion(volume: &VolumeRef, snapshot: &SnapshotFact, reason: &str) -> Vec<Step> {
    let (volume, snapshot_is) = (volume.clone(), snapshot.identity.clone());
    let mut steps = Vec::new();
    if snapshot.protected {
        let (volume, snapshot) = (volume.clone(), snapshot_is.clone());
        let release = Action::Volume(VolumeAction::ReleaseSnapshot { volume, snapshot });
        steps.push(release.because("it is to be deleted"));
    }
    steps.push(
        Action::Volume(VolumeAction::DeleteSnapshot { volume, snapshot: snapshot_is })
            .because(reason),
    );
    steps
}
