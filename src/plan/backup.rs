//! Decides on a backup: which volumes, base or increment, which old snapshots go. Pure; it reads
//! nothing and writes nothing.

use super::facts::{BackupFacts, BackupPolicy, SnapshotProtection, VolumeFact};
use super::old_snapshots;
use super::prune::{PrunePolicy, Pruning, StoredFact, StoredImage, pruning};
use super::stored_damage;
use super::{
    Action, ConfigAction, Item, Plan, PlanKind, PointAction, Step, TransferAction, VolumeAction,
    base, failure, freeze,
};
use crate::model::{Bytes, ChainId, Guest, GuestKind, ImageId, Label, Moment, Share, SnapshotName};

pub use super::base::LONGEST_CHAIN;

/// Why a guest gets no backup in this run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoBackup {
    /// The guest is a template, or all its volumes are excluded by its configuration.
    #[error("{0}")]
    Skipped(String),
    /// PVE, or another tool through PVE, is working on the guest.
    #[error("guest is locked by PVE ({0}); nothing was changed{1}")]
    Locked(String, String),
    /// There are volumes to be saved, and not one of them can be.
    #[error("no volume can be backed up ({0}); nothing was changed")]
    NothingReadable(String),
    /// The repository would be full before the run ended.
    #[error(
        "not enough space in the repository: {free} free, about {needed} needed; nothing was changed"
    )]
    NoSpace {
        /// What is free.
        free: Bytes,
        /// What the bases of this run will need by the experience with earlier ones.
        needed: Bytes,
    },
}

/// Plans the backup of one guest.
///
/// # Errors
/// The guest is to be left out, is locked, or does not fit into the repository.
pub fn plan(facts: &BackupFacts, policy: &BackupPolicy) -> Result<Plan, NoBackup> {
    refuse(facts)?;
    let moment = free_moment(facts, policy.now);
    let chain = facts.chain.unwrap_or(policy.new_chain);
    let name = SnapshotName { chain, label: policy.label.clone(), moment };
    let transfers: Vec<Step> = facts
        .volumes
        .iter()
        .zip(policy.new_image.and_others())
        .map(|(volume, image)| transfer(facts, policy, volume, &name, image))
        .collect();
    check_space(facts, &transfers)?;
    let pruned = prune_afterwards(facts, policy, moment, &transfers);

    let mut items = recovery(facts);
    items.extend(stored_damage::indexes(facts, &transfers));
    items.extend(begin_chain(facts, &policy.label, policy.new_chain).map(Item::Step));
    items.push(Item::Step(
        Action::Point(PointAction::Begin { label: policy.label.clone(), moment }).step(),
    ));
    items.push(Item::Step(
        Action::Config(ConfigAction::Save { digest: facts.config_digest.clone() }).step(),
    ));
    items.extend(freeze::around(facts, policy, snapshots(facts, &name)));
    items.push(Item::Step(
        Action::Config(ConfigAction::Check { digest: facts.config_digest.clone() }).step(),
    ));
    items.extend(transfers.into_iter().map(Item::Step));
    if policy.snapshots == SnapshotProtection::Protected {
        items.extend(holds(facts, &name));
    }
    items.push(Item::Step(Action::Point(PointAction::Commit).step()));
    items.extend(audits(facts, policy));
    items.extend(old_snapshots::deletions(facts));
    items.extend(pruned.steps.into_iter().map(Item::Step));
    let mut warnings = warnings(facts, policy.now);
    warnings.extend(not_pruned(facts, policy));
    let unread = facts.unread_firewall.iter().map(|why| without_firewall(why));
    failure::around_commit(&mut items);
    Ok(Plan {
        skipped: facts.skipped.clone(),
        warnings,
        kept: pruned.kept,
        not_whole: unread.chain(stored_damage::warning(facts)).collect(),
        not_removed: pruned.stopped,
        lasting: "the restore point is committed",
        ..Plan::new(facts.guest.clone(), items)
    })
}

/// Rules that cannot be read cost no disk, but the point is one without them.
fn without_firewall(why: &str) -> String {
    format!("the guest's firewall file is not in the point: {why}")
}

/// What is done for a guest although its backup is refused: one that a run of ours left frozen
/// cannot write, and must not wait for a lock or for space. None where nothing is so urgent.
pub fn recovery_alone(facts: &BackupFacts) -> Option<Plan> {
    freeze::thaw(facts).map(|_| Plan {
        kind: PlanKind::Recovery,
        warnings: freeze::left(facts).collect(),
        ..Plan::new(facts.guest.clone(), recovery(facts))
    })
}

/// What to do about a lock that stays. PVE's locks have no owner, so that one whose task died looks like
/// one whose task runs.
fn lock_hint(guest: &Guest, lock: &str) -> String {
    let tool = match guest.kind {
        GuestKind::Qemu => "qm",
        GuestKind::Lxc => "pct",
    };
    match lock {
        "suspended" => {
            "; it is hibernated: start it, or run the backup when it is awake".to_owned()
        }
        _ => format!(
            "; if no task of the guest runs any more (look at its task log first), `{tool} unlock {}` frees it",
            guest.vmid
        ),
    }
}

fn refuse(facts: &BackupFacts) -> Result<(), NoBackup> {
    if facts.template {
        return Err(NoBackup::Skipped("it is a template".into()));
    }
    if let Some(lock) = &facts.lock {
        return Err(NoBackup::Locked(lock.clone(), lock_hint(&facts.guest, lock)));
    }
    let unread: Vec<String> = facts
        .skipped
        .iter()
        .filter(|skipped| !skipped.by_configuration)
        .map(|skipped| format!("{}: {}", skipped.disk, skipped.reason))
        .collect();
    if facts.volumes.is_empty() && !unread.is_empty() {
        return Err(NoBackup::NothingReadable(unread.join("; ")));
    }
    if facts.volumes.is_empty() {
        return Err(NoBackup::Skipped("no volume is included in backup".into()));
    }
    Ok(())
}

/// The step that gives the label a chain; none where it has one.
pub(super) fn begin_chain(facts: &BackupFacts, label: &Label, chain: ChainId) -> Option<Step> {
    let begin = Action::Point(PointAction::BeginChain { label: label.clone(), chain });
    facts.chain.is_none().then(|| begin.because("the label has none yet"))
}

/// The run's moment, moved on by seconds until no point and no snapshot of the chain bears it: the
/// clock may have jumped back, and two runs may begin in one second.
fn free_moment(facts: &BackupFacts, now: Moment) -> Moment {
    let taken = |moment: Moment| {
        facts.points.iter().any(|point| point.moment == moment)
            || facts.volumes.iter().flat_map(|v| &v.snapshots).any(|s| {
                SnapshotName::parse(&s.identity.name)
                    .is_some_and(|name| Some(name.chain) == facts.chain && name.moment == moment)
            })
    };
    (0..).map(|seconds| now.plus_seconds(seconds)).find(|m| !taken(*m)).unwrap_or(now)
}

fn recovery(facts: &BackupFacts) -> Vec<Item> {
    let mut steps: Vec<Step> = freeze::thaw(facts).into_iter().collect();
    if facts.frozen_repository.is_none() {
        steps.extend(facts.debris.iter().map(|debris| {
            Action::Point(PointAction::SweepDebris { directory: debris.directory.clone() })
                .because("an interrupted run left it without a manifest")
        }));
        steps.extend(super::prune::sweep(&facts.leftovers));
    }
    steps.into_iter().map(Item::Step).collect()
}

fn snapshots(facts: &BackupFacts, name: &SnapshotName) -> Vec<Step> {
    facts
        .volumes
        .iter()
        .map(|v| {
            Action::Volume(VolumeAction::CreateSnapshot {
                volume: v.volume.clone(),
                identity: v.identity.clone(),
                snapshot: name.clone(),
            })
            .step()
        })
        .collect()
}

fn holds<'a>(facts: &'a BackupFacts, name: &'a SnapshotName) -> impl Iterator<Item = Item> + 'a {
    facts.volumes.iter().map(|v| {
        let action = Action::Volume(VolumeAction::HoldSnapshot {
            volume: v.volume.clone(),
            snapshot: name.clone(),
        });
        Item::Step(action.because("snapshots are to be protected"))
    })
}

/// What retention removes once the new point is there. Nothing for a guest that is not saved whole,
/// as the older points may hold what the new one lacks.
fn prune_afterwards(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    moment: Moment,
    transfers: &[Step],
) -> Pruning {
    let incomplete = facts.skipped.iter().any(|skipped| !skipped.by_configuration);
    if policy.retention.is_empty() || facts.frozen_repository.is_some() || incomplete {
        return Pruning::default();
    }
    let rules = policy.retention.clone();
    // The point's own second may have been moved on a little, and it is not one of the future.
    let now = policy.now.max(moment);
    let mut points = facts.stored.clone();
    points.push(point_to_be(facts, policy, moment, transfers));
    let (label, new) = (Some(policy.label.clone()), Some(policy.point));
    pruning(&points, &PrunePolicy { label, rules, new, now })
}

fn not_pruned(facts: &BackupFacts, policy: &BackupPolicy) -> Option<String> {
    let skipped = facts.skipped.iter().find(|skipped| !skipped.by_configuration)?;
    let text = format!("nothing is pruned in this run, as {} could not be saved", skipped.disk);
    (!policy.retention.is_empty()).then_some(text)
}

/// The point that this run makes, as retention will find it.
fn point_to_be(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    moment: Moment,
    transfers: &[Step],
) -> StoredFact {
    let images = transfers.iter().filter_map(|step| match &step.action {
        Action::Transfer(TransferAction::Save { since, image, .. }) => {
            let parent = since.as_ref().map(|base| base.image);
            Some(StoredImage { image: *image, parent, bytes: 0 })
        }
        _ => None,
    });
    StoredFact {
        directory: format!("{}/{}", policy.label, moment.stamp()),
        id: policy.point,
        label: policy.label.clone(),
        seq: facts.stored.iter().map(|p| p.seq).max().unwrap_or(0).saturating_add(1),
        moment,
        hidden: false,
        protected: false,
        failed: false,
        // A run that lacks a disk prunes nothing.
        missing: Vec::new(),
        images: images.collect(),
    }
}

fn transfer(
    facts: &BackupFacts,
    policy: &BackupPolicy,
    volume: &VolumeFact,
    name: &SnapshotName,
    image: ImageId,
) -> Step {
    let action = |since| {
        Action::Transfer(TransferAction::Save {
            disk: volume.disk.clone(),
            volume: volume.volume.clone(),
            snapshot: name.clone(),
            since,
            image,
        })
    };
    match base::of(facts, policy, volume) {
        Ok(base) => action(Some(base)).step(),
        Err(reason) => action(None).because(reason),
    }
}

/// The comparisons come before anything goes: when a volume differs, whatever is older is all that
/// there is to look at.
fn audits(facts: &BackupFacts, policy: &BackupPolicy) -> Vec<Item> {
    let Some(parts) = policy.audit else { return Vec::new() };
    let last = facts.audited.iter().copied().find(|share| share.of == parts);
    let share = Share::after(last, parts);
    let audit = |volume: &VolumeFact| {
        Action::Transfer(TransferAction::Audit {
            disk: volume.disk.clone(),
            volume: volume.volume.clone(),
            share,
        })
    };
    facts.volumes.iter().map(|volume| Item::Step(audit(volume).step())).collect()
}

fn warnings(facts: &BackupFacts, now: Moment) -> Vec<String> {
    let mut warnings = freeze::warnings(facts);
    if let Some(why) = facts.frozen_repository.as_ref().filter(|_| !facts.is_damaged) {
        warnings.push(format!("nothing of this guest is removed from the repository: {why}"));
    }
    warnings.extend(old_snapshots::stays(facts));
    if let Some(point) = facts.points.iter().find(|point| point.moment.is_in_the_future(now)) {
        warnings.push(format!(
            "point {} is dated in the future: look at the clocks of the nodes",
            point.moment
        ));
    }
    warnings
}

/// Refuses when the bases of the plan cannot fit. What a base needs is estimated by how well the
/// guest's newest base compressed; without one, only a third of the used bytes is asked for, as a
/// wrong refusal costs a backup too. Increments are not estimated: the run stops cleanly.
fn check_space(facts: &BackupFacts, transfers: &[Step]) -> Result<(), NoBackup> {
    let is_base = |step: &Step| {
        matches!(step.action, Action::Transfer(TransferAction::Save { since: None, .. }))
    };
    let used: u64 = facts
        .volumes
        .iter()
        .zip(transfers)
        .filter(|(_, step)| is_base(step))
        .filter_map(|(volume, _)| volume.used)
        .sum();
    let needed = stored_part(facts, used);
    if needed > facts.free_bytes {
        return Err(NoBackup::NoSpace { free: Bytes(facts.free_bytes), needed: Bytes(needed) });
    }
    Ok(())
}

fn stored_part(facts: &BackupFacts, used: u64) -> u64 {
    let bases = facts.points.iter().rev().flat_map(|p| &p.images).filter(|image| image.is_base);
    let (stream, stored) =
        bases.fold((0_u64, 0_u64), |(a, b), image| (a + image.bytes.0, b + image.bytes.1));
    if stream == 0 {
        return used / 3;
    }
    let part = u128::from(used) * u128::from(stored) / u128::from(stream);
    u64::try_from(part).unwrap_or(u64::MAX)
}
