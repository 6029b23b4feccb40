//! What the repository holds of a guest that is to be saved: its points, and which can be bases. Not for
//! the guest itself, which is in `backup.rs`.

use crate::model::{ChainId, Guest, ImageId, Label, SnapshotIdentity, VolumeIdentity};
use crate::plan::facts::{DebrisFact, ImageFact, PointFact};
use crate::plan::prune::StoredFact;
use crate::repository::{
    BaseCheck, Debris, GuestDir, GuestKey, GuestRecord, History, StoredPoint, lost_indexes,
};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the repository holds of a guest.
pub(super) struct Kept {
    pub history: History,
    pub record: GuestRecord,
    /// The label's; none before its first run.
    pub chain: Option<ChainId>,
    pub points: Vec<PointFact>,
    pub leftovers: Vec<String>,
    pub stored: Vec<StoredFact>,
}

/// Reads it.
///
/// # Errors
/// The repository cannot be read.
pub(super) fn kept(
    directory: &GuestDir,
    key: &GuestKey,
    (guest, standing): (&Guest, &[SnapshotIdentity]),
    label: &Label,
) -> anyhow::Result<Kept> {
    let history = directory.load().context("read the guest's restore points")?;
    let record = record(key, guest, &history);
    let chain = record.chains.get(label).copied();
    let points = points(directory, &history, chain, standing);
    let leftovers = super::leftovers(directory, &history)?;
    let stored = super::stored(directory, &history);
    Ok(Kept { history, record, chain, points, leftovers, stored })
}

fn record(key: &GuestKey, guest: &Guest, history: &History) -> GuestRecord {
    let mut record = match &history.record {
        Some(record) => record.clone(),
        None => GuestRecord {
            guest: key.clone(),
            kind: guest.kind,
            name: String::new(),
            chains: BTreeMap::new(),
            last_seq: 0,
            other: serde_json::Map::new(),
        },
    };
    record.name.clone_from(&guest.name);
    record
}

fn points(
    directory: &GuestDir,
    history: &History,
    chain: Option<ChainId>,
    standing: &[SnapshotIdentity],
) -> Vec<PointFact> {
    let mut check = BaseCheck::new(directory.disk(), history);
    let Some(chain) = chain else { return Vec::new() };
    let of_chain = history.points.iter().filter(|point| point.manifest.chain == chain);
    let mut facts: Vec<PointFact> =
        of_chain.map(|point| point_fact(&mut check, standing, point)).collect();
    // Older points share their images with the newest, so that each index is looked at once.
    let newest = history.points.iter().rev().find(|point| point.manifest.chain == chain);
    if let (Some(newest), Some(fact)) = (newest, facts.last_mut()) {
        for (image, entry) in fact.images.iter_mut().zip(&newest.manifest.images) {
            let files = lost_indexes(history, newest, &entry.disk);
            let files = files.iter().filter(|_| image.unusable.is_none());
            let relative = |file: &PathBuf| {
                file.strip_prefix(directory.path()).unwrap_or(file).display().to_string()
            };
            image.lost_indexes = files.map(relative).collect();
        }
    }
    for differing in differing_volumes(history, chain) {
        distrust(&mut facts, differing);
    }
    facts
}

/// The volumes of a chain's points that were found to differ from their source, and in which point.
fn differing_volumes(
    history: &History,
    chain: ChainId,
) -> impl Iterator<Item = (u64, &VolumeIdentity)> {
    let of_chain = history.points.iter().filter(move |point| point.manifest.chain == chain);
    of_chain.flat_map(|point| {
        let audited = point.attributes.audited.iter().flat_map(|audited| &audited.failed_images);
        let image = |id: &ImageId| point.manifest.images.iter().find(|image| image.id == *id);
        audited.filter_map(image).map(|image| (point.manifest.seq, &image.source.volume))
    })
}

/// Nobody knows since when a volume differs from its source: what is older in the chain is no base
/// for increments either, even where its snapshot is still there.
fn distrust(facts: &mut [PointFact], (seq, volume): (u64, &VolumeIdentity)) {
    for point in facts.iter_mut().filter(|point| point.seq <= seq) {
        for image in point.images.iter_mut().filter(|image| image.source.volume == *volume) {
            let why = "is of a chain that was found to differ from its source";
            image.unusable.get_or_insert_with(|| why.to_owned());
        }
    }
}

/// Only an image whose snapshot still stands can be the base of an increment: the chains of others
/// are not looked at.
fn point_fact(
    check: &mut BaseCheck<'_>,
    standing: &[SnapshotIdentity],
    point: &StoredPoint,
) -> PointFact {
    let images = point.manifest.images.iter().map(|image| ImageFact {
        image: image.id,
        source: image.source.clone(),
        bytes: (image.stream_bytes, image.stored_bytes),
        is_base: image.parent.is_none(),
        increments: image.increments(),
        unusable: match standing.contains(&image.source) {
            true => check.unusable(point, &image.disk),
            false => None,
        },
        lost_indexes: Vec::new(),
    });
    PointFact { seq: point.manifest.seq, moment: point.manifest.time, images: images.collect() }
}

/// What an interrupted run left, named as in the guest's directory.
pub(super) fn debris_fact(directory: &GuestDir, debris: &Debris) -> DebrisFact {
    let relative = debris.path.strip_prefix(directory.path()).unwrap_or(&debris.path);
    DebrisFact { directory: relative.display().to_string() }
}
