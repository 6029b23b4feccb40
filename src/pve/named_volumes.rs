//! Every volume that a guest's configuration names, wherever it does: what must not be forgotten when
//! another configuration takes its place. Not for what a backup takes: that is `config_volume`.

use super::guest_config::{GuestConfig, header, is_snapshot_name};
use crate::model::VolumeId;

/// The volumes of all sections, and the snapshots that PVE has of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NamedVolumes {
    /// Drives and mount points, disks kept aside, and memory saved with snapshots or by a suspend,
    /// in the order of the file's sections; none twice.
    pub volumes: Vec<VolumeId>,
    /// The names of PVE's snapshots, in the order of the file.
    pub snapshots: Vec<String>,
}

impl GuestConfig {
    /// Looks through all sections. Images in cd-rom drives are somebody else's.
    pub fn named_volumes(&self) -> NamedVolumes {
        let mut named = NamedVolumes::default();
        for (header, section) in sections(&self.to_string()) {
            // `[PENDING]`, and since PVE 8 `[pve:pending]`, `[special:cloudinit]` and their like, are none.
            let is_snapshot =
                |name: &&String| is_snapshot_name(name) && !name.eq_ignore_ascii_case("pending");
            named.snapshots.extend(header.iter().filter(is_snapshot).cloned());
            let drives = section.written_volumes();
            let drives = drives.iter().filter(|drive| !drive.is_cdrom());
            let memory = section.get("vmstate").and_then(|text| text.parse().ok());
            for volume in drives.filter_map(|drive| drive.volume.clone()).chain(memory) {
                if !named.volumes.contains(&volume) {
                    named.volumes.push(volume);
                }
            }
        }
        named
    }
}

/// The main section, which has no header, and all others, each as a configuration of its own.
fn sections(text: &str) -> Vec<(Option<String>, GuestConfig)> {
    let mut sections = vec![(None, String::new())];
    for line in text.split_inclusive('\n') {
        match (header(line), sections.last_mut()) {
            (None, Some((_, section))) => section.push_str(line),
            (name, _) => sections.push((name.map(str::to_owned), String::new())),
        }
    }
    sections.into_iter().map(|(name, text)| (name, GuestConfig::parse(&text))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_of_snapshots_and_of_pending_changes_are_named_too() {
        let config = GuestConfig::parse(
            "ide2: local:iso/debian.iso,media=cdrom\nide3: ceph:vm-101-cloudinit,media=cdrom\n\
             scsi0: ceph:vm-101-disk-0,size=4G\nscsi1: /dev/sdb\nunused0: ceph:vm-101-disk-7\n\n\
             [PENDING]\nscsi5: ceph:vm-101-disk-9,size=1G\ndelete: scsi1\n\n\
             [pre]\nscsi0: ceph:vm-101-disk-0,size=4G\nscsi2: ceph:vm-101-disk-3\n\
             vmstate: ceph:vm-101-state-pre\n\n[special:cloudinit]\nname: web\n",
        );
        let named = config.named_volumes();
        assert_eq!(named.snapshots, ["pre"]);
        let names: Vec<&str> = named.volumes.iter().map(VolumeId::own_name).collect();
        assert_eq!(
            names,
            [
                "vm-101-cloudinit",
                "vm-101-disk-0",
                "vm-101-disk-7",
                "vm-101-disk-9",
                "vm-101-disk-3",
                "vm-101-state-pre"
            ]
        );
    }

    /// What PVE passes over when it reads the file may be the only mention of a volume.
    #[test]
    fn a_volume_that_is_written_where_pve_reads_nothing_is_named_too() {
        let config = GuestConfig::parse(
            "scsi31: ceph:vm-100-disk-0\nmp01: ceph:vm-100-disk-1\n[weird section]\nscsi0: ceph:vm-100-disk-2\n[a]\nide4: ceph:vm-100-disk-3\n[pending]\nscsi1: ceph:vm-100-disk-4\n",
        );
        assert_eq!(config.volumes(), []);
        let named = config.named_volumes();
        assert_eq!((named.volumes.len(), named.snapshots), (5, Vec::new()));
    }

    #[test]
    fn a_container_has_its_pending_changes_under_another_header() {
        let config = GuestConfig::parse(
            "rootfs: ceph:vm-200-disk-0\n[pve:pending]\nmp1: ceph:vm-200-disk-1,mp=/x\n[s-1]\nrootfs: ceph:vm-200-disk-0\n",
        );
        let named = config.named_volumes();
        assert_eq!((named.volumes.len(), named.snapshots), (2, vec!["s-1".to_owned()]));
    }
}
