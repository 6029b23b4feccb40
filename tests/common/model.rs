//! What a repository must hold: every point that was ever committed, with the bytes that its
//! volumes had. Knows nothing of how they were made.

use super::lab::{FOREIGN, Lab, VMID};
use pve_ferry::model::{DiskKey, VolumeId};
use pve_ferry::repository::image::ChainReader;
use pve_ferry::repository::{Disk, GuestDir, Repository, StoredPoint, chain_of};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The bytes of every volume of every point, by the point's directory and the disk.
#[derive(Debug, Default)]
pub struct Model(BTreeMap<PathBuf, BTreeMap<DiskKey, Vec<u8>>>);

impl Lab {
    /// The directories of all guests in a repository.
    pub fn guest_directories(&self, repository: &str) -> Vec<GuestDir> {
        Repository::open_target(&self.repository(repository), Disk::real())
            .unwrap()
            .guests()
            .unwrap()
    }

    /// All points of a repository, oldest first within a guest.
    pub fn points(&self, repository: &str) -> Vec<StoredPoint> {
        let directories = self.guest_directories(repository);
        directories.iter().flat_map(|directory| directory.load().unwrap().points).collect()
    }

    /// Notes what the volumes hold now for the points that are new. To be called before the guest
    /// writes again.
    pub fn learn(&self, repository: &str) {
        let mut model = self.model.lock().unwrap();
        for point in self.points(repository) {
            model.0.entry(point.dir.clone()).or_insert_with(|| {
                let images = point.manifest.images.iter();
                let read = |volume: &VolumeId| {
                    self.memory(&point.manifest.node, &volume.storage).read(&volume.name).unwrap()
                };
                images.map(|image| (image.disk.clone(), read(&image.volume))).collect()
            });
        }
    }

    /// The bytes that a disk of a point must have.
    pub fn expected(&self, point: &StoredPoint, disk: &str) -> Vec<u8> {
        let model = self.model.lock().unwrap();
        model.0[&point.dir][&disk.parse::<DiskKey>().unwrap()].clone()
    }

    /// Every point that was ever there is there and whole, bit by bit, and nothing else is.
    pub fn assert_points_are_whole(&self, context: &str) {
        let model = self.model.lock().unwrap();
        let mut found = Vec::new();
        for repository in ["repository", "second"] {
            for directory in self.guest_directories(repository) {
                let history = directory.load().unwrap();
                assert_eq!(history.unreadable, [], "{context}");
                for point in &history.points {
                    let disks = &model.0[&point.dir];
                    assert_eq!(disks.len(), point.manifest.images.len(), "{context}");
                    for (disk, bytes) in disks {
                        let links = chain_of(&history, point, disk).unwrap();
                        let whole = read_chain(&ChainReader::open(&links).unwrap()) == *bytes;
                        assert!(whole, "{context}: {disk} of {} differs", point.dir.display());
                    }
                    assert!(
                        directory.saved_config(point).unwrap().contains("smbios1"),
                        "{context}"
                    );
                    found.push(point.dir.clone());
                }
            }
        }
        found.sort();
        assert_eq!(found, model.0.keys().cloned().collect::<Vec<_>>(), "{context}");
    }

    /// No interrupted run can be seen any more: no directory without a manifest, no lock, one
    /// snapshot of ours per volume of guest 100 and chain.
    pub fn assert_tidy(&self, chains: usize, context: &str) {
        for directory in self.guest_directories("repository") {
            assert_eq!(directory.load().unwrap().debris, [], "{context}");
            let locks = std::fs::read_dir(directory.path().join("locks")).unwrap().count();
            assert_eq!(locks, 0, "{context}");
        }
        for volume in self.volumes_of(VMID) {
            let own = self.own_snapshots(&volume);
            assert_eq!(own.len(), chains, "{context}: {volume} has {own:?}");
        }
        assert!(self.node.get(VMID).frozen.is_none(), "{context}: the guest is frozen");
    }

    /// The snapshots of other tools are all there.
    pub fn assert_foreign_snapshots_stay(&self, context: &str) {
        for volume in self.volumes_of(VMID) {
            let names = self.snapshots(&volume);
            let gone: Vec<_> =
                FOREIGN.iter().filter(|name| !names.iter().any(|n| n == *name)).collect();
            assert!(gone.is_empty(), "{context}: {gone:?} of {volume} are gone");
        }
    }

    /// The volumes of a guest.
    pub fn volumes_of(&self, vmid: u32) -> Vec<String> {
        let prefix = format!("vm-{vmid}-");
        self.volumes().into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }
}

/// All bytes of a volume as its chain tells them.
pub fn read_chain(chain: &ChainReader) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(chain.size()).unwrap()];
    chain.read_at(0, &mut bytes).unwrap();
    bytes
}
