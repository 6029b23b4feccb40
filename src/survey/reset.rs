//! The facts of a reset: the snapshots on volumes, and whose chains they may be. Reads only.

use crate::context::Context;
use crate::model::{ChainId, ClusterId, Guest, SkippedDisk, SnapshotIdentity, VolumeId};
use crate::plan::facts::SnapshotFact;
use crate::plan::reset::{ChainFact, ResetVolume};
use crate::pve::GuestConfig;
use crate::repository::{GuestDir, History, Repository, RepositoryError};
use crate::storage::NoStorage;
use std::collections::BTreeSet;

/// A guest's chains in a repository.
#[derive(Debug, Clone)]
pub struct ChainOwner {
    /// The guest's directory.
    pub directory: GuestDir,
    /// The guest in words.
    pub guest: String,
    /// Its chains, also those whose restore points are gone; not those of other repositories, which
    /// points were copied from.
    pub chains: BTreeSet<ChainId>,
    sources: BTreeSet<SnapshotIdentity>,
}

impl ChainOwner {
    /// Reads the guest's directory again.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn again(&self) -> Result<Self, RepositoryError> {
        let history = self.directory.load()?;
        Ok(Self::of(self.directory.clone(), self.guest.clone(), &history))
    }

    fn of(directory: GuestDir, guest: String, history: &History) -> Self {
        // Where guest.json is lost, the history has them from the points.
        let recorded = history.record.iter().flat_map(|record| record.chains.values().copied());
        let images = history.points.iter().flat_map(|point| &point.manifest.images);
        let sources = images.map(|image| image.source.clone()).collect();
        Self { directory, guest, chains: recorded.collect(), sources }
    }

    /// What plans want to know of these chains.
    pub fn facts(&self) -> impl Iterator<Item = ChainFact> + '_ {
        self.chains.iter().map(|chain| ChainFact {
            chain: *chain,
            guest: self.guest.clone(),
            sources: self.sources.clone(),
        })
    }
}

/// The chains of all guests of one cluster in a repository. Those of another cluster are its own.
///
/// # Errors
/// A directory cannot be read.
pub fn chain_owners(
    repository: &Repository,
    cluster: Option<&ClusterId>,
) -> Result<Vec<ChainOwner>, RepositoryError> {
    let mut owners = Vec::new();
    for directory in repository.guests()? {
        let history = directory.load()?;
        let Some(record) = &history.record else { continue };
        if Some(&record.guest.cluster) == cluster {
            let name = if record.name.is_empty() { "" } else { " " };
            let guest = format!("guest {}{name}{}", record.guest.vmid, record.name);
            owners.push(ChainOwner::of(directory, guest, &history));
        }
    }
    Ok(owners)
}

/// A volume that is to be looked at, under the name that reports have for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedVolume {
    /// Its key in the configuration, or its id where there is none.
    pub name: String,
    /// Its id.
    pub volume: VolumeId,
    /// Whether a person named this very volume, so that its absence is a mistake.
    pub asked_for: bool,
}

/// The volumes of a guest's configuration: also those that no backup takes now, as an earlier one
/// may have, and those that PVE keeps aside as unused.
///
/// # Errors
/// The configuration cannot be read.
pub async fn volumes_of(ctx: &Context, guest: &Guest) -> anyhow::Result<Vec<NamedVolume>> {
    let config = GuestConfig::parse(&ctx.home()?.config(guest).await?);
    let volumes = config.volumes().into_iter().filter(|entry| !entry.is_cdrom());
    let named = volumes.filter_map(|entry| {
        Some(NamedVolume { name: entry.key.to_string(), volume: entry.volume?, asked_for: false })
    });
    Ok(named.collect())
}

/// Looks at the volumes and their snapshots, as that node sees them. One that cannot be read is told, and is no error.
pub async fn reset_volumes(
    ctx: &Context,
    node: &str,
    named: &[NamedVolume],
) -> (Vec<ResetVolume>, Vec<SkippedDisk>) {
    let (mut volumes, mut skipped) = (Vec::new(), Vec::new());
    for one in named {
        match look(ctx, node, one).await {
            Ok(volume) => volumes.push(volume),
            Err((reason, by_configuration)) => {
                skipped.push(SkippedDisk { disk: one.name.clone(), reason, by_configuration });
            }
        }
    }
    (volumes, skipped)
}

/// The volume; or why not, and whether that is as the configuration has it.
async fn look(ctx: &Context, node: &str, one: &NamedVolume) -> Result<ResetVolume, (String, bool)> {
    let volume = &one.volume;
    let storage = ctx.storage(node, &volume.storage).map_err(|none| match none {
        NoStorage::OtherKind { .. } => {
            (format!("{none}, where no snapshots of ours are"), !one.asked_for)
        }
        _ => (none.to_string(), false),
    })?;
    match storage.volume(&volume.name).await {
        Ok(Some(facts)) => {
            let snapshot = |facts: crate::storage::SnapshotFacts| SnapshotFact {
                identity: facts.identity,
                protected: facts.protected,
            };
            let snapshots = facts.snapshots.into_iter().map(snapshot).collect();
            Ok(ResetVolume {
                volume: ctx.place_of(node, volume),
                snapshots,
                migrating: facts.migrating,
            })
        }
        Ok(None) => Err((format!("volume {volume} does not exist"), !one.asked_for)),
        Err(error) => {
            let why = anyhow::Error::from(error);
            Err((format!("volume {volume} cannot be read: {why:#}"), false))
        }
    }
}
