//! The facts of an adoption: the old tool's points, the guest's volumes now, our own points. Reads only.

use super::backup::{Surveyed, SurveyedGuest};
use super::legacy::{BarcPoint, Home, barc_history};
use crate::context::Context;
use crate::model::{Label, VmId, VolumeId};
use crate::plan::adopt::{AdoptFacts, OldImage, OldPoint, OwnPoint};
use crate::pve::GuestConfig;
use crate::repository::legacy::{LegacyHistory, LegacyImage, LegacyPoint};
use crate::repository::{GuestDir, GuestKey, History};
use anyhow::Context as _;
use std::path::Path;

/// The field of a manifest that names what its point was adopted from.
pub const ADOPTED: &str = "adopted";

/// What eve4pve-barc saved of a guest under a label.
pub struct OldChain<'a> {
    /// Below this path stands its directory.
    pub path: &'a Path,
    /// The label as the old tool has it: any text.
    pub label: &'a str,
    /// What this machine adds.
    pub home: &'a Home,
}

/// A guest as it was read for an adoption.
pub struct SurveyedAdoption {
    /// The facts that the plan is made from.
    pub facts: AdoptFacts,
    /// What a backup of the guest would have read; its facts hold the volumes.
    pub surveyed: Surveyed,
    /// The old tool's points; none when it has no such directory.
    pub old: Option<LegacyHistory>,
}

/// Reads all of it. `label` is the one that the adopted point is to get.
///
/// # Errors
/// A directory cannot be read, or the guest's node does not answer.
pub async fn adopt(
    ctx: &Context,
    read: SurveyedGuest,
    place: (&GuestDir, GuestKey, u64),
    label: &Label,
    chain: &OldChain<'_>,
) -> anyhow::Result<SurveyedAdoption> {
    let directory = place.0.clone();
    let vmid = read.guest.vmid;
    let surveyed = super::backup(ctx, read, place, label).await?;
    let old = barc_history(chain.path, chain.home, (vmid, chain.label))?;
    let own = directory.load().context("read the guest's restore points")?;
    let facts = AdoptFacts {
        guest: surveyed.facts.guest.clone(),
        directory: name(vmid, chain.label),
        points: old.iter().flat_map(old_points).collect(),
        volumes: surveyed.facts.volumes.clone(),
        unread: unread(ctx, &surveyed),
        chain: surveyed.facts.chain,
        own: own_points(&own, label),
        unreadable: own.forbids_removal(),
    };
    Ok(SurveyedAdoption { facts, surveyed, old })
}

/// The guest's volumes on storages that we serve, and that the survey found missing or silent.
fn unread(ctx: &Context, surveyed: &Surveyed) -> Vec<(VolumeId, String)> {
    let volumes = GuestConfig::parse(&surveyed.config).volumes();
    let reason = |key: &str| {
        let mut skipped = surveyed.facts.skipped.iter();
        let found = skipped.find(|s| s.disk == key && !s.by_configuration)?;
        Some(found.reason.clone())
    };
    let node = &surveyed.facts.guest.node;
    let of_served = |volume: &VolumeId| ctx.storage(node, &volume.storage).is_ok();
    let entries = volumes.into_iter().filter_map(|entry| {
        let why = reason(entry.key.as_str())?;
        Some((entry.volume.filter(of_served)?, why))
    });
    entries.collect()
}

fn name(vmid: VmId, label: &str) -> String {
    format!("{}/{vmid}/{label}", crate::repository::legacy::ROOT)
}

fn own_points(history: &History, label: &Label) -> Vec<OwnPoint> {
    let of_label = history.points.iter().filter(|point| point.manifest.label == *label);
    let own = of_label.map(|point| OwnPoint {
        moment: point.manifest.time,
        adopted: point.manifest.other.get(ADOPTED).and_then(|v| v.as_str()).map(str::to_owned),
    });
    own.collect()
}

fn old_points(history: &LegacyHistory) -> Vec<OldPoint> {
    history.points.iter().map(|point| old_point(history, point)).collect()
}

fn old_point(history: &LegacyHistory, point: &LegacyPoint) -> OldPoint {
    let snapshot = format!("barc{}{}", history.directory.label, point.stamp);
    let image = |image: &LegacyImage| {
        let broken = history.chain_of(point, &image.disk).err().map(|error| error.to_string());
        Some(OldImage { disk: image.key.clone()?, volume: image.volume.clone()?, broken })
    };
    let digest = |config: &String| GuestConfig::parse(config).digest();
    OldPoint {
        stamp: point.stamp.clone(),
        time: point.time,
        snapshot,
        config_digest: point.config.as_ref().map(digest),
        images: point.images.iter().filter_map(image).collect(),
        skipped: BarcPoint::of(history.clone(), point.clone()).skipped(),
    }
}
