//! Decides on adopting what eve4pve-barc saved: which of its points, which disks of it. Pure.
//!
//! # What adopting is
//! The newest point of the old tool whose snapshot still stands on a volume becomes a restore point of
//! ours: each disk's files are read through to one base image, checked by their own checksums, and
//! compared with that snapshot as the storage has it. The image's source is the snapshot's identity
//! (the image's id and the snapshot's number), so that the next `backup` makes an increment since
//! it, by the same rule as since a snapshot of our own.
//!
//! # Why so
//! - Nothing of the old tool's is changed: its files, its snapshots, their names. Its older points stay
//!   where they are; `list`, `verify` and `restore` read them there.
//! - The new point needs none of its files: whoever removes them loses older points and no newer one.
//! - A name proves nothing, and checksums only prove that files are what was written. The old tool has
//!   merged and applied wrong diffs with right checksums (its issues 20, 70, 74), and a disk that was
//!   made again may bear a snapshot of that name. Only the comparison tells, and it costs one reading of
//!   the volume, once; increments on top of another content would be wrong for ever.
//! - A disk that cannot be adopted is left out and named, and its next image is a base. No disk at all:
//!   there is nothing to go on with, and `backup` begins anew without being asked.

use super::facts::VolumeFact;
use super::{Action, ConfigAction, Item, KeptPoint, Plan, PointAction, TransferAction};
use crate::model::{
    ChainId, DiskKey, Guest, ImageId, Label, Moment, SkippedDisk, SnapshotIdentity, VolumeId,
    VolumeRef,
};

/// One disk of an old point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldImage {
    /// Its key and volume in the configuration of that time; such without one are left out before.
    pub disk: DiskKey,
    /// The volume.
    pub volume: VolumeId,
    /// Why its files make no volume; `None` when they may.
    pub broken: Option<String>,
}

/// A point of the old tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldPoint {
    /// The stamp in its files' names.
    pub stamp: String,
    /// The moment that the stamp means.
    pub time: Moment,
    /// The name of the snapshots that it was made from.
    pub snapshot: String,
    /// The digest of the configuration that was saved with it.
    pub config_digest: Option<String>,
    /// Its disks.
    pub images: Vec<OldImage>,
    /// Disks that it does not hold, or that nobody can tell.
    pub skipped: Vec<SkippedDisk>,
}

/// A point of ours under the label that the adopted one is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnPoint {
    /// Its date.
    pub moment: Moment,
    /// What it was adopted from, if it was.
    pub adopted: Option<String>,
}

/// All that adopting depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptFacts {
    /// The guest.
    pub guest: Guest,
    /// The old tool's directory as a person names it: `barc/100/daily`.
    pub directory: String,
    /// Its points, oldest first.
    pub points: Vec<OldPoint>,
    /// The guest's volumes now, as a backup takes them.
    pub volumes: Vec<VolumeFact>,
    /// Those of its volumes that cannot be looked at now, each with the reason.
    pub unread: Vec<(VolumeId, String)>,
    /// The chain that the label has in our repository, if it has one.
    pub chain: Option<ChainId>,
    /// Our points of the label, hidden ones too.
    pub own: Vec<OwnPoint>,
    /// Something in our repository that cannot be read and may be such a point.
    pub unreadable: Option<String>,
}

/// What the user wants of an adoption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptPolicy {
    /// The label that the point gets.
    pub label: Label,
    /// The chain that the label gets where it has none, from the random source.
    pub new_chain: ChainId,
    /// The id that the first new image gets, from the random source; it leads to those of the others.
    pub new_image: ImageId,
}

/// Why nothing is adopted. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAdoption {
    /// The old tool saved nothing under that name.
    #[error("eve4pve-barc has no restore point in {0}; nothing was changed")]
    NoPoint(String),
    /// This very point was adopted before.
    #[error("it was adopted already, as point {label} {moment}")]
    Already {
        /// The label.
        label: Label,
        /// The date of our point.
        moment: Moment,
    },
    /// The label has a chain of its own.
    #[error(
        "the repository has points of label {label} already (the newest of {newest}), which go on by themselves; choose another label with --as; nothing was changed"
    )]
    Occupied {
        /// The label.
        label: Label,
        /// The date of the newest point.
        newest: Moment,
    },
    /// What is there may be what was to be made.
    #[error("{0}: look at it first; nothing was changed")]
    Unreadable(String),
    /// A disk cannot be looked at, and would be left out although it may be adopted later.
    #[error("{0}; nothing was changed, run it again when that is mended")]
    Unread(String),
    /// There is nothing that an increment could begin at.
    #[error(
        "no snapshot that {directory} continues stands on the guest's volumes any more ({why}); the next backup makes a base by itself; nothing was changed"
    )]
    NoSnapshot {
        /// The old tool's directory.
        directory: String,
        /// What is missing, per disk of its newest point.
        why: String,
    },
}

/// Names what a point was adopted from, for ever: `barc/100/daily/20200102120000`.
pub fn origin(directory: &str, stamp: &str) -> String {
    format!("{directory}/{stamp}")
}

/// Plans the adoption of one guest's newest point that a snapshot is left of.
///
/// # Errors
/// There is nothing to adopt, or it is done already.
pub fn plan(facts: &AdoptFacts, policy: &AdoptPolicy) -> Result<Plan, NoAdoption> {
    let label = &policy.label;
    if let Some(why) = &facts.unreadable {
        return Err(NoAdoption::Unreadable(why.clone()));
    }
    let volumes = || facts.points.iter().flat_map(|p| &p.images).map(|image| &image.volume);
    let is_held = |(unread, _): &&(VolumeId, String)| volumes().any(|volume| volume == unread);
    if let Some((_, why)) = facts.unread.iter().find(is_held) {
        return Err(NoAdoption::Unread(why.clone()));
    }
    let Some(newest) = facts.points.iter().rev().find(|point| !point.images.is_empty()) else {
        return Err(NoAdoption::NoPoint(facts.directory.clone()));
    };
    let judged = |point: &OldPoint| -> Vec<Judged> {
        point.images.iter().map(|image| judge(facts, point, image)).collect()
    };
    let adoptable = |point: &&OldPoint| judged(point).iter().any(|disk| disk.snapshot.is_ok());
    let Some(point) = facts.points.iter().rev().find(adoptable) else {
        let why = judged(newest).into_iter().filter_map(|disk| disk.snapshot.err());
        let (directory, why) = (facts.directory.clone(), why.collect::<Vec<_>>().join("; "));
        return Err(NoAdoption::NoSnapshot { directory, why });
    };
    refuse_a_second_chain(facts, label, point)?;
    Ok(planned(facts, policy, point, judged(point)))
}

/// What is known of one disk: the snapshot that the next increment will begin at, or why not.
struct Judged {
    disk: DiskKey,
    snapshot: Result<(VolumeRef, SnapshotIdentity), String>,
}

fn judge(facts: &AdoptFacts, point: &OldPoint, image: &OldImage) -> Judged {
    Judged { disk: image.disk.clone(), snapshot: snapshot_of(facts, point, image) }
}

fn snapshot_of(
    facts: &AdoptFacts,
    point: &OldPoint,
    image: &OldImage,
) -> Result<(VolumeRef, SnapshotIdentity), String> {
    if let Some(why) = &image.broken {
        return Err(why.clone());
    }
    let present = facts.volumes.iter().find(|fact| fact.volume.id == image.volume);
    let present =
        present.ok_or_else(|| format!("no backup takes {} of the guest any more", image.volume))?;
    let snapshot = present.snapshots.iter().find(|s| s.identity.name == point.snapshot);
    let gone = || format!("snapshot {} is gone from {}", point.snapshot, image.volume);
    Ok((present.volume.clone(), snapshot.ok_or_else(gone)?.identity.clone()))
}

fn refuse_a_second_chain(
    facts: &AdoptFacts,
    label: &Label,
    point: &OldPoint,
) -> Result<(), NoAdoption> {
    let origin = origin(&facts.directory, &point.stamp);
    let label = label.clone();
    if let Some(same) = facts.own.iter().find(|own| own.adopted.as_ref() == Some(&origin)) {
        return Err(NoAdoption::Already { label, moment: same.moment });
    }
    match facts.own.iter().map(|own| own.moment).max() {
        Some(newest) => Err(NoAdoption::Occupied { label, newest }),
        None => Ok(()),
    }
}

fn planned(facts: &AdoptFacts, policy: &AdoptPolicy, point: &OldPoint, disks: Vec<Judged>) -> Plan {
    let AdoptPolicy { label, new_chain, new_image } = policy;
    let begin = Action::Point(PointAction::Begin { label: label.clone(), moment: point.time });
    let begin_chain =
        Action::Point(PointAction::BeginChain { label: label.clone(), chain: *new_chain });
    let mut steps = Vec::new();
    steps.extend(facts.chain.is_none().then(|| begin_chain.because("the label has none yet")));
    steps.push(begin.because(format!("it is the moment of {}", point.stamp)));
    let (mut skipped, mut kept, mut warnings) = (point.skipped.clone(), Vec::new(), Vec::new());
    match &point.config_digest {
        Some(digest) => {
            steps.push(Action::Config(ConfigAction::Save { digest: digest.clone() }).step())
        }
        None => warnings.push(
            "eve4pve-barc kept no configuration of that moment: only single disks can be restored"
                .to_owned(),
        ),
    }
    for (Judged { disk, snapshot }, image) in disks.into_iter().zip(new_image.and_others()) {
        match snapshot {
            Ok((volume, snapshot)) => {
                kept.push(KeptPoint {
                    point: format!("{volume}@{}", snapshot.name),
                    because: "it is eve4pve-barc's, and the next backup continues it".to_owned(),
                });
                let from = facts.directory.clone();
                let adopt = TransferAction::Adopt { disk, volume, snapshot, from, image };
                steps.push(Action::Transfer(adopt).step());
            }
            Err(reason) => skipped.push(SkippedDisk {
                disk: disk.to_string(),
                reason: format!("{reason}; its next image is a base"),
                by_configuration: false,
            }),
        }
    }
    steps.push(Action::Point(PointAction::Commit).step());
    let items = steps.into_iter().map(Item::Step).collect();
    let lasting = "the restore point is committed";
    Plan { skipped, warnings, stays: kept, lasting, ..Plan::new(facts.guest.clone(), items) }
}
