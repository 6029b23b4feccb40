//! The cluster's guests as selections see them. Not the selecting itself: that is `select`.

use super::files::{ClusterFiles, FilesError};
use super::guest_config::GuestConfig;
use super::user_cfg::{Pool, pools_of};
use crate::model::Guest;
use crate::select::Candidate;

impl ClusterFiles {
    /// All guests with their pools, tags and storages, in the order of node and vmid.
    ///
    /// # Errors
    /// A configuration or `user.cfg` cannot be read.
    pub fn candidates(&self) -> Result<Vec<Candidate>, FilesError> {
        let pools = self.pools()?;
        let guests = self.guests_with_configs()?.into_iter();
        Ok(guests.map(|(guest, config)| candidate(guest, &config, &pools)).collect())
    }
}

fn candidate(guest: Guest, config: &GuestConfig, pools: &[Pool]) -> Candidate {
    Candidate {
        pools: pools_of(pools, guest.vmid),
        tags: config.tags().into_iter().map(str::to_owned).collect(),
        storages: storages(config),
        template: config.is_template(),
        guest,
    }
}

/// The storages of the volumes that the guest uses: neither those of images in its cd-rom drives,
/// which are nobody's, nor those of disks that PVE keeps aside as unused.
fn storages(config: &GuestConfig) -> Vec<String> {
    let used = config.volumes().into_iter().filter(|v| !v.is_cdrom() && !v.is_unused());
    let mut storages: Vec<String> = used.filter_map(|v| Some(v.volume?.storage)).collect();
    storages.sort();
    storages.dedup();
    storages
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_guests_pools_tags_and_storages_are_those_of_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let guests = dir.path().join("nodes/pve1/qemu-server");
        fs::create_dir_all(&guests).unwrap();
        let config = "name: web\ntags: prod;db\ntemplate: 1\nscsi0: ssd:vm-100-disk-0\n\
                      scsi1: ceph:vm-100-disk-1,backup=0\nscsi2: ceph:vm-100-disk-2\n\
                      ide2: local:iso/a.iso,media=cdrom\nunused0: old:vm-100-disk-3\n\
                      [snap]\nscsi4: gone:vm-100-disk-4\n";
        fs::write(guests.join("100.conf"), config).unwrap();
        fs::write(dir.path().join("user.cfg"), "pool:web/shop::100:ceph:\npool:x::101::\n")
            .unwrap();
        let files = ClusterFiles::new(dir.path().to_owned());
        let [candidate] = &files.candidates().unwrap()[..] else {
            panic!("one guest");
        };
        assert_eq!(candidate.pools, ["web/shop"]);
        assert_eq!(candidate.tags, ["prod", "db"]);
        assert_eq!(candidate.storages, ["ceph", "ssd"]);
        assert!(candidate.template);
        assert_eq!(candidate.guest.name, "web");
    }
}
