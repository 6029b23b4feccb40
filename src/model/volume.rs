//! Volumes as PVE names them, and the keys under which a guest's configuration holds them.

use super::{Invalid, serde_as_text};
use std::fmt;
use std::str::FromStr;

const VOLUME_FORM: &str = "a volume id (storage:name)";
const DISK_FORM: &str = "a disk key (as scsi0, rootfs, mp0)";

/// `storage:name`, one disk on a storage (PVE's `pve-volume-id`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeId {
    /// The id of the storage in storage.cfg.
    pub storage: String,
    /// The volume's name on that storage; for a linked clone `base-9000-disk-0/vm-100-disk-0`.
    pub name: String,
}

impl VolumeId {
    /// The last part of the name: what the volume is called on a storage that has no directories.
    pub fn own_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl FromStr for VolumeId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let invalid = || Invalid::new(text, VOLUME_FORM);
        let (storage, name) = text.split_once(':').ok_or_else(invalid)?;
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let storage_fits = storage.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && storage.bytes().all(fits);
        if !storage_fits || name.is_empty() || name.chars().any(|c| c.is_whitespace() || c == ',') {
            return Err(invalid());
        }
        Ok(Self { storage: storage.to_owned(), name: name.to_owned() })
    }
}

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}:{}", self.storage, self.name))
    }
}

serde_as_text!(VolumeId, VOLUME_FORM);

/// The configuration key of a volume: `scsi0`, `efidisk0`, `rootfs`, `mp3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DiskKey(String);

impl DiskKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, u32) {
        let digits = self.0.find(|c: char| c.is_ascii_digit()).unwrap_or(self.0.len());
        (&self.0[..digits], self.0[digits..].parse().unwrap_or(0))
    }
}

/// Keys are ordered by bus and then by number, so that scsi2 comes before scsi10.
impl Ord for DiskKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for DiskKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for DiskKey {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let letters = text.trim_end_matches(|c: char| c.is_ascii_digit());
        let known = match letters {
            "ide" | "sata" | "scsi" | "virtio" | "efidisk" | "tpmstate" | "mp" | "unused" => {
                (1..=3).contains(&(text.len() - letters.len()))
            }
            "rootfs" => letters == text,
            _ => false,
        };
        if known { Ok(Self(text.to_owned())) } else { Err(Invalid::new(text, DISK_FORM)) }
    }
}

impl fmt::Display for DiskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(DiskKey, DISK_FORM);

/// A volume of a guest that is left out of a plan or a restore point.
#[derive(
    Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
pub struct SkippedDisk {
    /// Its key in the configuration.
    pub disk: String,
    /// Why it is left out.
    pub reason: String,
    /// Whether the user's own configuration says so; if not, the run was not complete.
    #[serde(skip)]
    pub by_configuration: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_ids_round_trip() {
        for text in [
            "ceph:vm-100-disk-0",
            "local-lvm:base-9000-disk-0/vm-100-disk-5",
            "a.b_c:100/vm-100-disk-0.qcow2",
        ] {
            assert_eq!(text.parse::<VolumeId>().unwrap().to_string(), text);
        }
        for text in ["", "none", "cdrom", ":x", "ceph:", "/dev/sda", "ceph:a b", "ceph:a,b"] {
            assert!(text.parse::<VolumeId>().is_err(), "{text}");
        }
    }

    #[test]
    fn disk_keys_are_ordered_by_number() {
        let mut keys: Vec<DiskKey> =
            ["scsi10", "scsi2", "efidisk0", "virtio0"].map(|k| k.parse().unwrap()).to_vec();
        keys.sort();
        let texts: Vec<&str> = keys.iter().map(DiskKey::as_str).collect();
        assert_eq!(texts, ["efidisk0", "scsi2", "scsi10", "virtio0"]);
    }

    #[test]
    fn other_keys_are_no_disks() {
        for text in ["net0", "scsi", "scsi1234", "rootfs0", "scsihw", "mp", "numa0", ""] {
            assert!(text.parse::<DiskKey>().is_err(), "{text}");
        }
    }
}
