//! What a restore takes from: a restore point of ours, or one of eve4pve-barc. Both answer the same
//! questions; what is done with the answers, plans decide.

use super::legacy::{BarcPoint, Home, barc_point};
use super::prune::is_left_out;
use super::sought::{NoPoint, Sought, SurveyedPoint, point};
use crate::model::{Bytes, DiskKey, GuestKind, Moment, SkippedDisk, VmId, VolumeId};
use crate::plan::restore::StoredVolume;
use crate::repository::{GuestDir, ImageEntry, Repository, StoredChain, chain_of, images_of_chain};
use anyhow::Context as _;

/// The point that is meant.
#[derive(Debug, Clone)]
pub enum RestorePoint {
    /// One of ours.
    Ours(Box<SurveyedPoint>),
    /// One of eve4pve-barc.
    Barc(Box<BarcPoint>),
}

impl From<SurveyedPoint> for RestorePoint {
    fn from(point: SurveyedPoint) -> Self {
        Self::Ours(Box::new(point))
    }
}

/// Finds the point that is meant, among ours and among those of eve4pve-barc below the same path.
/// Of both, the newer one is meant.
///
/// # Errors
/// [`NoPoint`], or a directory cannot be read.
pub fn restore_point(
    repository: &Repository,
    sought: &Sought,
    home: &Home,
) -> anyhow::Result<RestorePoint> {
    let barc = barc_point(repository.path(), sought, home)?.map(Box::new);
    match (point(repository, sought, home.cluster.as_ref()), barc) {
        (Ok(ours), Some(barc)) if barc.time() > ours.point.manifest.time => {
            Ok(RestorePoint::Barc(barc))
        }
        (Ok(ours), _) => Ok(ours.into()),
        (Err(error), Some(barc)) => match error.downcast_ref() {
            Some(NoPoint::None(_)) => Ok(RestorePoint::Barc(barc)),
            _ => Err(error),
        },
        (Err(error), None) => Err(error),
    }
}

impl SurveyedPoint {
    /// What all images of a chain write, at most the volume's size. A chain that is broken is refused
    /// elsewhere.
    fn sum_of_data(&self, image: &ImageEntry) -> u64 {
        let chain = images_of_chain(&self.history, &self.point, &image.disk).unwrap_or_default();
        let data = chain.iter().map(|held| held.image.data_bytes);
        data.fold(0, u64::saturating_add).min(image.shape.size)
    }
}

impl RestorePoint {
    /// The same point as it is now, for whoever holds a lock on its directory at last. What the old
    /// tool wrote has no locks.
    ///
    /// # Errors
    /// As [`SurveyedPoint::read_again`].
    pub fn read_again(&self) -> anyhow::Result<Self> {
        match self {
            Self::Ours(ours) => Ok(ours.read_again()?.into()),
            Self::Barc(_) => Ok(self.clone()),
        }
    }

    /// The guest's number then.
    pub fn vmid(&self) -> VmId {
        match self {
            Self::Ours(ours) => ours.point.manifest.guest.vmid,
            Self::Barc(barc) => barc.vmid(),
        }
    }

    /// The moment.
    pub fn time(&self) -> Moment {
        match self {
            Self::Ours(ours) => ours.point.manifest.time,
            Self::Barc(barc) => barc.time(),
        }
    }

    /// Virtual machine or container.
    pub fn kind(&self) -> GuestKind {
        match self {
            Self::Ours(ours) => ours.point.manifest.kind,
            Self::Barc(barc) => barc.kind(),
        }
    }

    /// The guest's name then; may be empty.
    pub fn name(&self) -> String {
        match self {
            Self::Ours(ours) => ours.point.manifest.name.clone(),
            Self::Barc(barc) => barc.name(),
        }
    }

    /// The node where it ran; empty where nobody noted it.
    pub fn node(&self) -> String {
        match self {
            Self::Ours(ours) => ours.point.manifest.node.clone(),
            Self::Barc(_) => String::new(),
        }
    }

    /// The volumes that it holds, with the data of all images of their chains: the same block may have
    /// been written several times. [`RestorePoint::data_bytes`] knows better, where it can.
    ///
    /// # Errors
    /// A file had to be read to know its size, and cannot be.
    pub fn volumes(&self) -> anyhow::Result<Vec<StoredVolume>> {
        let Self::Ours(ours) = self else {
            return self.barc().map_or(Ok(vec![]), BarcPoint::volumes);
        };
        let volume = |image: &ImageEntry| StoredVolume {
            disk: image.disk.clone(),
            volume: image.volume.clone(),
            shape: image.shape.clone(),
            data_bytes: ours.sum_of_data(image),
        };
        Ok(ours.point.manifest.images.iter().map(volume).collect())
    }

    /// Bytes that the chain of a disk writes, where the indexes of its images tell them.
    pub fn data_bytes(&self, disk: &DiskKey) -> Option<u64> {
        self.chain(disk).ok()?.indexed_data_bytes()
    }

    /// What [`RestorePoint::chain_named`] takes for each of its disks, and a word on each.
    pub fn disk_names(&self) -> Vec<(String, String)> {
        match self {
            Self::Ours(ours) => {
                let images = ours.point.manifest.images.iter();
                let about = |size: u64, volume: &VolumeId| format!("{:>11}  {volume}", Bytes(size));
                images.map(|i| (i.disk.to_string(), about(i.size, &i.volume))).collect()
            }
            Self::Barc(barc) => barc.disk_names(),
        }
    }

    /// The disks that it does not hold.
    pub fn skipped(&self) -> Vec<SkippedDisk> {
        match self {
            Self::Ours(ours) => {
                let skipped = ours.point.manifest.skipped.iter().map(|skipped| SkippedDisk {
                    disk: skipped.disk.to_string(),
                    reason: skipped.reason.clone(),
                    by_configuration: is_left_out(skipped),
                });
                skipped.collect()
            }
            Self::Barc(barc) => barc.skipped(),
        }
    }

    /// The guest's configuration then.
    ///
    /// # Errors
    /// It is missing, damaged, or cannot be read.
    pub fn config(&self) -> anyhow::Result<String> {
        match self {
            Self::Ours(ours) => Ok(ours.directory.saved_config(&ours.point)?),
            Self::Barc(barc) => barc.config().map(str::to_owned).with_context(|| {
                format!("{barc} has no configuration: restore its volumes with --disk")
            }),
        }
    }

    /// The guest's firewall file then, when there was one.
    ///
    /// # Errors
    /// It is damaged or cannot be read.
    pub fn firewall(&self) -> anyhow::Result<Option<String>> {
        match self {
            Self::Ours(ours) => Ok(ours.directory.saved_firewall(&ours.point)?),
            Self::Barc(barc) => Ok(barc.firewall()),
        }
    }

    /// The files of a disk.
    ///
    /// # Errors
    /// There is no such disk, or its files are no chain.
    pub fn chain(&self, disk: &DiskKey) -> anyhow::Result<StoredChain> {
        match self {
            Self::Ours(ours) => Ok(chain_of(&ours.history, &ours.point, disk)?.into()),
            Self::Barc(barc) => Ok(StoredChain::Barc(barc.chain(disk.as_str())?)),
        }
    }

    /// The files of a disk that a person names, by its key or as the old tool's files are named.
    ///
    /// # Errors
    /// As [`RestorePoint::chain`].
    pub fn chain_named(&self, disk: &str) -> anyhow::Result<StoredChain> {
        match self {
            Self::Ours(_) => self.chain(&disk.parse()?),
            Self::Barc(barc) => Ok(StoredChain::Barc(barc.chain(disk)?)),
        }
    }

    /// The guest's directory, which readers lock; none of what the old tool wrote, where we write
    /// nothing.
    pub fn directory(&self) -> Option<&GuestDir> {
        match self {
            Self::Ours(ours) => Some(&ours.directory),
            Self::Barc(_) => None,
        }
    }

    fn barc(&self) -> Option<&BarcPoint> {
        match self {
            Self::Ours(_) => None,
            Self::Barc(barc) => Some(barc),
        }
    }
}
