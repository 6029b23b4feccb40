//! Which volumes a guest's configuration holds and which of them a backup takes. Not about what is
//! on the storage: that is the survey's to find out.

use super::guest_config::GuestConfig;
use super::property_string::PropertyString;
use crate::model::{DiskKey, VolumeId};
use std::collections::BTreeMap;

/// A drive or mount point of a guest's main section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigVolume {
    /// Under which key it stands. PVE's old key `cdrom` is `ide2`.
    pub key: DiskKey,
    /// Its whole value.
    pub value: PropertyString,
    /// The volume on a storage; none for an empty drive, a path of the node, or a text that names
    /// no storage. An included entry without a volume is one that cannot be backed up: see
    /// [`ConfigVolume::no_volume`].
    pub volume: Option<VolumeId>,
    /// Whether a backup takes it.
    pub inclusion: Inclusion,
}

/// Whether a backup takes a volume; if not, the reason as it stands in reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inclusion {
    /// It is backed up.
    Included,
    /// It is not, because the configuration says so or because there is nothing to take.
    Excluded(String),
}

impl GuestConfig {
    /// The drives and mount points of the main section in the order of their keys. Those of
    /// snapshots and of pending changes are not the guest's disks now.
    pub fn volumes(&self) -> Vec<ConfigVolume> {
        let mut volumes = self.written_volumes();
        volumes.retain(|volume| is_known_to_pve(&volume.key));
        volumes
    }

    /// The same with those that are written under keys which PVE does not know and passes over.
    pub(crate) fn written_volumes(&self) -> Vec<ConfigVolume> {
        let mut last_wins = BTreeMap::new();
        for (key, value) in self.entries() {
            let mut value = PropertyString::parse(value);
            let is_old_cdrom = key == "cdrom";
            if is_old_cdrom && !names_own_volume(&value) {
                value.set("media", "cdrom");
            }
            let key = if is_old_cdrom { "ide2" } else { key };
            if let Ok(key) = key.parse::<DiskKey>() {
                last_wins.insert(key, value);
            }
        }
        last_wins.into_iter().map(|(key, value)| config_volume(key, value)).collect()
    }

    /// Why a backup passes the whole guest over, by its configuration alone; none when there is
    /// something to take. A guest with nothing but disks that PVE keeps aside has none either:
    /// somebody may have detached what should be saved.
    pub fn nothing_to_save(&self) -> Option<String> {
        let volumes = self.volumes();
        if volumes.iter().any(ConfigVolume::is_included) {
            return None;
        }
        let disks: Vec<_> = volumes.iter().filter(|v| !v.is_cdrom() && !v.is_unused()).collect();
        if disks.is_empty() {
            let is_bare = !volumes.iter().any(ConfigVolume::is_unused);
            return is_bare.then(|| "it has no disk".to_owned());
        }
        if disks.iter().all(|disk| disk.exclusion() == NO_BACKUP) {
            return Some(format!("every disk is {NO_BACKUP}"));
        }
        let named = disks.iter().map(|disk| format!("{}: {}", disk.key, disk.exclusion()));
        Some(named.collect::<Vec<_>>().join(", "))
    }
}

impl ConfigVolume {
    /// Whether a backup takes it.
    pub fn is_included(&self) -> bool {
        self.inclusion == Inclusion::Included
    }

    /// Why a backup does not take it; empty when it does.
    fn exclusion(&self) -> &str {
        match &self.inclusion {
            Inclusion::Included => "",
            Inclusion::Excluded(reason) => reason,
        }
    }

    /// Why an included entry has no volume that could be backed up.
    pub fn no_volume(&self) -> String {
        match self.value.volume() {
            Some(path) if path.starts_with('/') => format!(
                "{path}{PASSED_THROUGH}, which cannot be backed up yet (backup=0 leaves it out)"
            ),
            _ => "it is to be backed up, but names no volume".to_owned(),
        }
    }

    /// Whether it is the drive that PVE writes cloud-init data to: a volume of the guest, although
    /// it is attached as a cd-rom.
    pub fn is_cloudinit(&self) -> bool {
        self.value.volume().is_some_and(names_cloudinit)
    }

    /// Whether it is a cd-rom drive with somebody else's image, or with none.
    pub fn is_cdrom(&self) -> bool {
        let empty = matches!(self.value.volume(), None | Some("none" | "cdrom"));
        !self.is_cloudinit() && (empty || self.value.get("media") == Some("cdrom"))
    }

    /// Whether it is a disk of the node itself, or a part of one, that two guests must not share: a
    /// machine's drive at any path, a container's mount point at a device.
    pub fn is_node_disk(&self) -> bool {
        let (key, held) = (self.key.as_str(), self.value.volume().unwrap_or_default());
        let is_mount_point = key == "rootfs" || key.starts_with("mp");
        let beginning = if is_mount_point { "/dev/" } else { "/" };
        held.starts_with(beginning) && !self.is_cdrom()
    }

    /// Whether PVE keeps it aside as `unusedN`.
    pub fn is_unused(&self) -> bool {
        self.key.as_str().starts_with("unused")
    }
}

/// Whether a text is one of the reasons of [`Inclusion::Excluded`]: all that restore points of early
/// versions tell of whether a disk was left out by the configuration.
pub fn is_exclusion(reason: &str) -> bool {
    let whole = [UNUSED, CD_ROM, EMPTY_CD_ROM, NO_BACKUP, NO_MOUNT_POINT];
    let of_node = [PASSED_THROUGH, DEVICE, BIND_MOUNT];
    whole.contains(&reason)
        || (reason.starts_with('/') && of_node.iter().any(|ending| reason.ends_with(ending)))
}

const UNUSED: &str = "it is an unused disk";
const CD_ROM: &str = "it is a cd-rom drive";
const EMPTY_CD_ROM: &str = "it is an empty cd-rom drive";
const NO_BACKUP: &str = "backup=0";
const NO_MOUNT_POINT: &str = "it is a mount point without backup=1";
/// These follow a path of the node.
const PASSED_THROUGH: &str = " is passed through from the node";
const DEVICE: &str = " is a device of the node";
const BIND_MOUNT: &str = " is a bind mount";

fn config_volume(key: DiskKey, value: PropertyString) -> ConfigVolume {
    let volume = value.volume().and_then(|text| text.parse().ok());
    let mut entry = ConfigVolume { key, value, volume, inclusion: Inclusion::Included };
    if let Some(reason) = exclusion(&entry) {
        entry.inclusion = Inclusion::Excluded(reason);
    }
    entry
}

fn exclusion(entry: &ConfigVolume) -> Option<String> {
    let key = entry.key.as_str();
    if entry.is_unused() {
        return Some(UNUSED.to_owned());
    }
    if key == "rootfs" || key.starts_with("mp") {
        return mount_point_exclusion(entry);
    }
    drive_exclusion(entry)
}

/// A virtual machine's rule: everything, unless `backup=0`; an EFI disk always. So a disk that is
/// passed through from the node belongs to it as well (`PVE::QemuConfig::get_backup_volumes`).
fn drive_exclusion(entry: &ConfigVolume) -> Option<String> {
    let held = entry.value.volume().unwrap_or_default();
    if entry.is_cdrom() {
        let reason = if matches!(held, "" | "none") { EMPTY_CD_ROM } else { CD_ROM };
        return Some(reason.to_owned());
    }
    let switched_off = entry.value.flag("backup") == Some(false);
    let always = entry.key.as_str().starts_with("efidisk");
    (switched_off && !always).then(|| NO_BACKUP.to_owned())
}

/// A container's rule: the root always, another mount point only with `backup=1`.
fn mount_point_exclusion(entry: &ConfigVolume) -> Option<String> {
    let held = entry.value.volume().unwrap_or_default();
    if held.starts_with("/dev/") {
        return Some(format!("{held}{DEVICE}"));
    }
    if held.starts_with('/') {
        return Some(format!("{held}{BIND_MOUNT}"));
    }
    let asked_for = entry.value.flag("backup") == Some(true);
    (entry.key.as_str() != "rootfs" && !asked_for).then(|| NO_MOUNT_POINT.to_owned())
}

/// Whether PVE has such a drive: it drops the lines of all others, written by hand, when it reads the
/// file (`PVE::QemuServer::Drive` and `PVE::LXC::Config`, 9.1).
fn is_known_to_pve(key: &DiskKey) -> bool {
    let key = key.as_str();
    let letters = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &key[letters.len()..];
    let count = match letters {
        "rootfs" => return digits.is_empty(),
        "ide" => 4,
        "sata" => 6,
        "scsi" => 31,
        "virtio" => 16,
        "efidisk" | "tpmstate" => 1,
        "mp" | "unused" => 256,
        _ => return false,
    };
    let is_plain = digits == "0" || !digits.starts_with('0');
    is_plain && digits.parse::<u32>().is_ok_and(|number| number < count)
}

/// Whether a drive holds a volume that PVE made for a guest. Under the old key `cdrom` that is a disk to
/// PVE, which adds no `media=cdrom` there.
fn names_own_volume(value: &PropertyString) -> bool {
    let volume: Option<VolumeId> = value.volume().and_then(|text| text.parse().ok());
    volume.is_some_and(|volume| {
        let mut parts = volume.own_name().splitn(3, '-');
        matches!(parts.next(), Some("vm" | "base")) && parts.next().is_some_and(is_number)
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// PVE's pattern `[:/](vm-\d+-)?cloudinit(\.<format>)?$` (`Drive::drive_is_cloudinit`).
fn names_cloudinit(volume: &str) -> bool {
    let Some(at) = volume.rfind([':', '/']) else {
        return false;
    };
    let name = &volume[at + 1..];
    let name = name.split_once('.').map_or(name, |(stem, _)| stem);
    let number = name.strip_prefix("vm-").and_then(|rest| rest.strip_suffix("-cloudinit"));
    let has_number = number.is_some_and(is_number);
    name == "cloudinit" || has_number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(line: &str) -> String {
        let volumes = GuestConfig::parse(&format!("{line}\n")).volumes();
        let [entry] = &volumes[..] else {
            panic!("{line}: {volumes:?}");
        };
        match &entry.inclusion {
            Inclusion::Included => "included".to_owned(),
            Inclusion::Excluded(reason) => {
                assert!(is_exclusion(reason), "{reason}");
                reason.clone()
            }
        }
    }

    #[test]
    fn a_disk_that_could_not_be_saved_has_no_reason_of_the_configuration() {
        for reason in
            ["storage nfs has no driver", "volume ceph:x does not exist", "", "a bind mount"]
        {
            assert!(!is_exclusion(reason), "{reason}");
        }
    }

    #[test]
    fn a_machine_gives_every_disk_unless_backup_0() {
        for (line, expected) in [
            ("scsi0: ceph:vm-100-disk-0,size=1G", "included"),
            ("virtio3: file=ceph:vm-100-disk-0", "included"),
            ("sata1: ceph:base-9-disk-0/vm-100-disk-0,backup=1", "included"),
            ("scsi0: ceph:vm-100-disk-0,backup=0", "backup=0"),
            ("scsi0: ceph:vm-100-disk-0,backup=no", "backup=0"),
            ("efidisk0: ceph:vm-100-disk-1,efitype=4m,backup=0", "included"),
            ("tpmstate0: ceph:vm-100-disk-2,version=v2.0", "included"),
            ("ide2: ceph:vm-100-cloudinit,media=cdrom", "included"),
            ("ide2: nfs:100/vm-100-cloudinit.qcow2,media=cdrom", "included"),
            ("scsi5: ceph:vm-100-cloudinit,media=cdrom,backup=0", "backup=0"),
            ("ide2: local:iso/debian.iso,media=cdrom", "it is a cd-rom drive"),
            ("ide2: none,media=cdrom", "it is an empty cd-rom drive"),
            ("cdrom: none", "it is an empty cd-rom drive"),
            ("cdrom: local:iso/debian.iso", "it is a cd-rom drive"),
            ("ide2: cdrom,media=cdrom", "it is a cd-rom drive"),
            ("scsi1: /dev/sdb,size=1G", "included"),
            ("scsi1: /dev/sdb,size=1G,backup=0", "backup=0"),
            ("unused0: ceph:vm-100-disk-9", "it is an unused disk"),
        ] {
            assert_eq!(verdict(line), expected, "{line}");
        }
    }

    #[test]
    fn a_key_that_pve_drops_is_no_disk() {
        let keys = [
            "scsi31",
            "ide4",
            "sata6",
            "virtio16",
            "efidisk1",
            "tpmstate1",
            "mp256",
            "unused256",
            "mp01",
            "scsi00",
            "rootfs1",
            "scsi",
        ];
        for key in keys {
            let config = GuestConfig::parse(&format!("{key}: ceph:vm-100-disk-0,backup=1\n"));
            assert_eq!(config.volumes(), [], "{key}");
        }
        let last = ["scsi30", "ide3", "sata5", "virtio15", "efidisk0", "tpmstate0", "mp255"];
        for key in last.iter().chain(&["rootfs", "mp0", "scsi10", "unused255"]) {
            let config = GuestConfig::parse(&format!("{key}: ceph:vm-100-disk-0,backup=1\n"));
            assert_eq!(config.volumes().len(), 1, "{key}");
        }
    }

    /// One disk too many costs nothing; that PVE refuses the whole line is not for us to repeat.
    #[test]
    fn a_value_that_pve_refuses_costs_no_disk() {
        for value in ["ceph:vm-100-disk-0,backup=", "ceph:vm-100-disk-0,backup=maybe"] {
            assert_eq!(verdict(&format!("scsi0: {value}")), "included", "{value}");
        }
    }

    #[test]
    fn the_old_key_of_cdroms_is_a_disk_when_it_holds_a_guests_volume() {
        assert_eq!(verdict("cdrom: ceph:vm-1-disk-5"), "included");
        assert_eq!(verdict("cdrom: ceph:vm-1-disk-5,media=cdrom"), "it is a cd-rom drive");
        assert_eq!(verdict("cdrom: nfs:iso/vm-tools.iso"), "it is a cd-rom drive");
        let volumes = GuestConfig::parse("cdrom: ceph:vm-1-disk-5\n").volumes();
        assert_eq!(volumes[0].key.as_str(), "ide2");
    }

    #[test]
    fn a_container_gives_its_root_and_what_says_backup_1() {
        for (line, expected) in [
            ("rootfs: ceph:vm-200-disk-0,size=8G", "included"),
            ("rootfs: ceph:vm-200-disk-0,backup=0", "included"),
            ("mp0: ceph:vm-200-disk-1,mp=/srv,backup=1", "included"),
            ("mp1: ceph:vm-200-disk-2,mp=/tmp", "it is a mount point without backup=1"),
            ("mp1: ceph:vm-200-disk-2,mp=/tmp,backup=0", "it is a mount point without backup=1"),
            ("mp2: /mnt/media,mp=/media,backup=1", "/mnt/media is a bind mount"),
            ("mp3: /dev/sdc1,mp=/data", "/dev/sdc1 is a device of the node"),
        ] {
            assert_eq!(verdict(line), expected, "{line}");
        }
    }

    #[test]
    fn a_guest_whose_disks_are_all_left_out_has_nothing_to_save() {
        for (text, expected) in [
            ("scsi0: a:x,backup=0\nscsi1: a:y,backup=0\n", "every disk is backup=0"),
            (
                "scsi0: a:x,backup=0\nide2: none,media=cdrom\nunused0: a:z\n",
                "every disk is backup=0",
            ),
            ("name: pxe\nide2: none,media=cdrom\n", "it has no disk"),
            (
                "rootfs: /srv/ct\nmp0: a:y,mp=/srv\n",
                "mp0: it is a mount point without backup=1, rootfs: /srv/ct is a bind mount",
            ),
        ] {
            let why = GuestConfig::parse(text).nothing_to_save();
            assert_eq!(why.as_deref(), Some(expected), "{text}");
        }
        for text in [
            // A disk on a storage that we have no driver for is to be saved all the same.
            "scsi0: a:x,backup=0\nscsi1: nfs:100/vm-100-disk-0.qcow2\n",
            "scsi0: a:x,backup=0\nscsi1: names-no-storage\n",
            "scsi0: a:x,backup=0\nscsi1: /dev/sdb\n",
            "scsi0: a:x,backup=0\nefidisk0: a:y\n",
            "scsi0: a:x,backup=0\nide2: a:vm-100-cloudinit,media=cdrom\n",
            "rootfs: a:x,backup=0\nmp0: a:y,mp=/srv\n",
            "unused0: a:x\nide2: none,media=cdrom\n",
        ] {
            assert_eq!(GuestConfig::parse(text).nothing_to_save(), None, "{text}");
        }
    }

    #[test]
    fn early_points_that_lack_a_passed_through_disk_stay_what_they_were() {
        assert!(is_exclusion("/dev/sdb is passed through from the node"));
    }

    #[test]
    fn a_passed_through_disk_is_to_be_saved_and_says_why_it_cannot_be() {
        let volumes = GuestConfig::parse("scsi1: /dev/disk/by-id/x,size=1G\n").volumes();
        assert!(volumes[0].is_included() && volumes[0].volume.is_none());
        let why = volumes[0].no_volume();
        assert!(why.starts_with("/dev/disk/by-id/x is passed through from the node"), "{why}");
    }

    #[test]
    fn an_included_text_that_names_no_storage_has_no_volume() {
        let volumes = GuestConfig::parse("scsi0: vm-100-disk-0.raw,size=1G\n").volumes();
        assert!(volumes[0].is_included() && volumes[0].volume.is_none());
    }

    #[test]
    fn only_the_main_section_counts_and_the_last_duplicate_wins() {
        let config = GuestConfig::parse(
            "scsi10: a:x\nscsi2: a:y\nscsi2: a:z\nscsihw: virtio-scsi-pci\nnet0: virtio\n\
             [PENDING]\nscsi3: a:p\n[snap]\nscsi4: a:s\n",
        );
        let volumes: Vec<String> = config
            .volumes()
            .iter()
            .map(|v| format!("{} {}", v.key, v.volume.as_ref().unwrap()))
            .collect();
        assert_eq!(volumes, ["scsi2 a:z", "scsi10 a:x"]);
    }

    #[test]
    fn cloudinit_is_known_by_its_whole_name() {
        assert!(names_cloudinit("a:cloudinit") && names_cloudinit("a:1/vm-1-cloudinit.raw"));
        for name in [
            "cloudinit",
            "a:mycloudinit",
            "a:vm--cloudinit",
            "a:vm-1-cloudinit-2",
            "a:vm-x-cloudinit",
        ] {
            assert!(!names_cloudinit(name), "{name}");
        }
    }
}
