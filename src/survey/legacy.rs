//! Restore points of eve4pve-barc as a survey sees them: with the disks of the guest's configuration.
//! Reading the files is `repository::legacy`'s.

use super::sought::Sought;
use crate::model::{ClusterId, GuestKind, Moment, SkippedDisk, VmId, VolumeShape};
use crate::plan::guest_config::parse_size;
use crate::plan::restore::StoredVolume;
use crate::pve::storage_cfg::StorageCfg;
use crate::pve::{ConfigVolume, GuestConfig, Inclusion};
use crate::repository::legacy::{
    ConfigDisk, LegacyError, LegacyHistory, LegacyImage, LegacyLink, LegacyPoint, LegacyRepository,
};
use crate::repository::{Disk, RepositoryError};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// What this machine adds to what stands in a repository.
#[derive(Debug, Clone, Default)]
pub struct Home {
    /// The cluster that it belongs to.
    pub cluster: Option<ClusterId>,
    /// Where the old tool ran: its stamps are local time. UTC by default.
    pub zone: Option<TimeZone>,
    /// `<pool>` or `<pool>.<namespace>` by RBD storage.
    pub pools: BTreeMap<String, String>,
}

impl Home {
    /// Learns the pools of RBD storages.
    #[must_use]
    pub fn with_pools(mut self, config: &StorageCfg) -> Self {
        let rbd = config.storages().iter().filter_map(|section| config.rbd(&section.id));
        self.pools.extend(rbd.map(|rbd| match rbd.namespace {
            Some(namespace) => (rbd.id, format!("{}.{namespace}", rbd.pool)),
            None => (rbd.id, rbd.pool),
        }));
        self
    }
}

/// All that the old tool wrote below a path, with the disks found in the configurations.
///
/// # Errors
/// A directory or a configuration cannot be read.
pub fn barc_histories(path: &Path, home: &Home) -> Result<Vec<LegacyHistory>, RepositoryError> {
    let zone = home.zone.clone().unwrap_or(TimeZone::UTC);
    let Some(repository) = LegacyRepository::open(path, Disk::real(), zone)? else {
        return Ok(Vec::new());
    };
    let load = |directory: crate::repository::legacy::LegacyDir| {
        let mut history = directory.load()?;
        history.resolve(|config| config_disks(config, home));
        Ok(history)
    };
    repository.directories()?.into_iter().map(load).collect()
}

/// What the old tool wrote of one guest under one label, with the disks found in the configurations;
/// none when there is no such directory.
///
/// # Errors
/// A directory or a configuration cannot be read.
pub(super) fn barc_history(
    path: &Path,
    home: &Home,
    (vmid, label): (VmId, &str),
) -> Result<Option<LegacyHistory>, RepositoryError> {
    let zone = home.zone.clone().unwrap_or(TimeZone::UTC);
    let Some(repository) = LegacyRepository::open(path, Disk::real(), zone)? else {
        return Ok(None);
    };
    let mut directories = repository.directories()?.into_iter();
    let Some(directory) = directories.find(|d| d.vmid == vmid && d.label == label) else {
        return Ok(None);
    };
    let mut history = directory.load()?;
    history.resolve(|config| config_disks(config, home));
    Ok(Some(history))
}

/// A point of eve4pve-barc, and all others of its directory.
#[derive(Debug, Clone)]
pub struct BarcPoint {
    history: LegacyHistory,
    point: LegacyPoint,
}

impl fmt::Display for BarcPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "restore point {} of {}", self.point.stamp, self.history.directory.name())
    }
}

/// The newest point that fits, if there is one. A guest's directory is called `barc/<vmid>/<label>`.
pub(super) fn barc_point(
    path: &Path,
    sought: &Sought,
    home: &Home,
) -> Result<Option<BarcPoint>, RepositoryError> {
    let mut found: Option<BarcPoint> = None;
    for history in barc_histories(path, home)? {
        let directory = &history.directory;
        let named = sought.directory.as_ref().is_none_or(|name| directory.name() == *name);
        let labelled = sought.label.as_ref().is_none_or(|label| label.as_str() == directory.label);
        if directory.vmid != sought.vmid || !named || !labelled {
            continue;
        }
        let fits = |p: &&LegacyPoint| sought.time.is_none_or(|time| p.time <= time);
        let newest = history.points.iter().filter(|p| !p.images.is_empty()).rfind(fits).cloned();
        let Some(point) = newest else { continue };
        if found.as_ref().is_none_or(|found| found.time() < point.time) {
            found = Some(BarcPoint { history, point });
        }
    }
    Ok(found)
}

/// Whether a saved configuration is a container's.
pub fn kind_of_config(config: &str) -> GuestKind {
    let is_container = GuestConfig::parse(config).get("rootfs").is_some();
    if is_container { GuestKind::Lxc } else { GuestKind::Qemu }
}

fn config_disks(config: &str, home: &Home) -> Vec<ConfigDisk> {
    let volumes = GuestConfig::parse(config).volumes();
    let disk = |entry: ConfigVolume| {
        let volume = entry.volume.clone()?;
        Some(ConfigDisk {
            pool: home.pools.get(&volume.storage).cloned(),
            size: entry.value.get("size").and_then(parse_size),
            key: entry.key,
            volume,
        })
    };
    volumes.into_iter().filter(|v| !v.is_unused() && !v.is_cdrom()).filter_map(disk).collect()
}

impl BarcPoint {
    pub(super) fn of(history: LegacyHistory, point: LegacyPoint) -> Self {
        Self { history, point }
    }

    pub(super) fn vmid(&self) -> VmId {
        self.history.directory.vmid
    }

    pub(super) fn time(&self) -> Moment {
        self.point.time
    }

    pub(super) fn kind(&self) -> GuestKind {
        kind_of_config(self.config().unwrap_or_default())
    }

    pub(super) fn name(&self) -> String {
        let config = GuestConfig::parse(self.config().unwrap_or_default());
        config.name().unwrap_or_default().to_owned()
    }

    pub(super) fn config(&self) -> Option<&str> {
        self.point.config.as_deref()
    }

    pub(super) fn firewall(&self) -> Option<String> {
        self.point.firewall.clone()
    }

    pub(super) fn chain(&self, disk: &str) -> Result<Vec<LegacyLink>, LegacyError> {
        self.history.chain_of(&self.point, disk)
    }

    pub(super) fn disk_names(&self) -> Vec<(String, String)> {
        let file = |image: &LegacyImage| {
            let name = image.link.path.file_name();
            name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        self.point.images.iter().map(|image| (image.name(), file(image))).collect()
    }

    pub(super) fn volumes(&self) -> anyhow::Result<Vec<StoredVolume>> {
        let volume = |image: &LegacyImage| {
            let (Some(disk), Some(volume)) = (image.key.clone(), image.volume.clone()) else {
                return Ok(None);
            };
            let size = image.measured_size()?;
            let shape = VolumeShape { size, ..VolumeShape::default() };
            let data_bytes = self.expected_bytes(image, size);
            Ok(Some(StoredVolume { disk, volume, shape, data_bytes }))
        };
        self.point.images.iter().filter_map(|image| volume(image).transpose()).collect()
    }

    /// What a restore is expected to need, at most the volume's size: what a compressed base takes, less
    /// what its zeros may take of it (gzip makes a thousandth of them), and what the increments on it
    /// take. A plain base is full of zeros that are not restored, so that it tells nothing.
    fn expected_bytes(&self, image: &LegacyImage, size: u64) -> u64 {
        let links = self.history.chain_from(image).unwrap_or_default();
        let Some((base, increments)) = links.split_first() else { return 0 };
        let tells = base.may_be_compressed() && base.stored_bytes < size;
        let of_base = if tells { base.stored_bytes.saturating_sub(size / 512) } else { 0 };
        let of_increments = increments.iter().map(|link| link.stored_bytes);
        of_increments.fold(of_base, u64::saturating_add).min(size)
    }

    /// Volumes of the configuration without a file, and files without a volume: the old tool left
    /// disks out without a word.
    pub(super) fn skipped(&self) -> Vec<SkippedDisk> {
        let volumes = GuestConfig::parse(self.config().unwrap_or_default()).volumes();
        let held = |entry: &ConfigVolume| {
            self.point.images.iter().any(|image| image.key.as_ref() == Some(&entry.key))
        };
        let missing = volumes.into_iter().filter(|entry| !held(entry)).map(|entry| {
            let (reason, by_configuration) = match entry.inclusion {
                Inclusion::Excluded(reason) => (reason, true),
                Inclusion::Included => ("eve4pve-barc saved no image of it".to_owned(), false),
            };
            SkippedDisk { disk: entry.key.to_string(), reason, by_configuration }
        });
        let nameless = self.point.images.iter().filter(|image| image.key.is_none());
        let nameless = nameless.map(|image| SkippedDisk {
            disk: image.disk.clone(),
            reason: "the configuration does not tell which disk it is; `assemble --disk` takes this name".to_owned(),
            by_configuration: false,
        });
        missing.chain(nameless).collect()
    }
}
