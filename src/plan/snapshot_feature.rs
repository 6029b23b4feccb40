//! PVE's feature `snapshot`: what PVE says of a guest as a whole, and which of its disks are why it
//! says no. Not a second opinion: PVE's word counts, and disks are looked at only to be named.
//!
//! A snapshot of PVE holds all disks of a guest, so that one without the feature is enough for a no.
//! The rules are PVE's (`has_feature` of qemu-server 9.2 and pve-container, `volume_has_feature` of
//! the storage plugins of pve-storage 9.1).

use super::snapshot::DiskFacts;
use crate::model::{Guest, GuestKind, VolumeId};
use std::collections::BTreeSet;

/// What PVE says about snapshots of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Feature {
    /// It was not asked: nothing is to be made.
    NotAsked,
    /// It can make them.
    Present,
    /// It cannot.
    Missing,
    /// It gave no answer, for this reason.
    Unclear(String),
}

/// Which volumes of a storage can have snapshots.
enum Rule {
    All,
    Formats(&'static [&'static str]),
    None,
}

/// The rule of a type of storage; none for a plugin that is not PVE's own.
fn rule(plugin: &str) -> Option<Rule> {
    match plugin {
        "rbd" | "zfspool" | "zfs" | "lvmthin" => Some(Rule::All),
        "btrfs" => Some(Rule::Formats(&["qcow2", "raw", "subvol"])),
        // In a volume group since PVE 9, with the storage's option snapshot-as-volume-chain.
        "dir" | "nfs" | "cifs" | "cephfs" | "glusterfs" | "lvm" => Some(Rule::Formats(&["qcow2"])),
        "iscsi" | "iscsidirect" | "pbs" | "esxi" => Some(Rule::None),
        _ => None,
    }
}

/// The format that a volume's name tells. In a volume group only qcow2 has an ending.
fn format<'a>(plugin: &str, volume: &'a VolumeId) -> &'a str {
    match volume.own_name().rsplit_once('.') {
        Some((_, ending)) if plugin != "lvm" || ending == "qcow2" => ending,
        _ => "raw",
    }
}

/// Why PVE cannot snapshot a guest with these disks, and what to do about it.
pub(super) fn refusal(guest: &Guest, disks: &[DiskFacts]) -> String {
    let named = disks
        .iter()
        .filter_map(|disk| Some(format!("{}: {}", blocker(disk)?, way_out(guest, disk))));
    let named: Vec<String> = named.collect();
    let why = if named.is_empty() { unnamed(disks) } else { named.join("; ") };
    format!(
        "PVE cannot snapshot it, as a snapshot holds all disks, also those with backup=0; {why}; or leave the guest out (--vmid ...,-{})",
        guest.vmid
    )
}

/// Why a disk has no snapshots; none when it has, or we cannot tell.
fn blocker(disk: &DiskFacts) -> Option<String> {
    let (volume, plugin) = (disk.volume.as_ref()?, disk.plugin.as_deref()?);
    let (key, storage) = (&disk.key, &volume.storage);
    let rule = rule(plugin)?;
    if is_base(volume) {
        return Some(format!("{key} is the base of linked clones ({volume})"));
    }
    match rule {
        Rule::All => None,
        Rule::None => Some(format!("{key} is on storage {storage} ({plugin})")),
        Rule::Formats(formats) => {
            let format = format(plugin, volume);
            let text = || format!("{key} is {format} on storage {storage} ({plugin})");
            (!formats.contains(&format)).then(text)
        }
    }
}

fn way_out(guest: &Guest, disk: &DiskFacts) -> String {
    let (vmid, key) = (guest.vmid, &disk.key);
    let command = match guest.kind {
        GuestKind::Qemu => format!("qm disk move {vmid} {key}"),
        GuestKind::Lxc => format!("pct move-volume {vmid} {key}"),
    };
    let to_move = format!("move it to a storage with snapshots (`{command} STORAGE`)");
    match qcow2_home(guest.kind, disk) {
        Some(storage) => {
            format!("convert it to qcow2 (`{command} {storage} --format qcow2`) or {to_move}")
        }
        None => to_move,
    }
}

/// The storage on which a machine's disk could be qcow2. A TPM's could only since PVE 9.1, and in a
/// volume group it depends on an option that we do not see.
fn qcow2_home(kind: GuestKind, disk: &DiskFacts) -> Option<&str> {
    let (volume, plugin) = (disk.volume.as_ref()?, disk.plugin.as_deref()?);
    let takes_qcow2 = plugin != "lvm" && matches!(rule(plugin)?, Rule::Formats(_));
    let may_be = kind == GuestKind::Qemu && !disk.key.starts_with("tpmstate") && !is_base(volume);
    (takes_qcow2 && may_be).then_some(volume.storage.as_str())
}

/// Other guests' disks are clones of it, and it never changes.
fn is_base(volume: &VolumeId) -> bool {
    volume.own_name().starts_with("base")
}

fn unnamed(disks: &[DiskFacts]) -> String {
    let unseen = disks.iter().filter(|disk| disk.plugin.is_none());
    let storages: BTreeSet<&str> =
        unseen.filter_map(|disk| Some(disk.volume.as_ref()?.storage.as_str())).collect();
    let hint = match storages.is_empty() {
        true => String::new(),
        false => {
            let storages: Vec<&str> = storages.into_iter().collect();
            format!(" (the privilege Datastore.Audit would show {})", storages.join(", "))
        }
    };
    format!(
        "it does not say which disk it cannot{hint}: look on which storages they are, and move those without snapshots"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(key: &str, plugin: Option<&str>, volume: &str) -> DiskFacts {
        let plugin = plugin.map(str::to_owned);
        DiskFacts { key: key.into(), volume: Some(volume.parse().unwrap()), plugin, usage: None }
    }

    fn guest(kind: GuestKind) -> Guest {
        Guest { vmid: "100".parse().unwrap(), kind, name: String::new(), node: "pve1".into() }
    }

    #[test]
    fn volumes_without_snapshots_are_known_as_pve_knows_them() {
        for (plugin, volume, is_blocker) in [
            ("rbd", "s:vm-100-disk-0", false),
            ("rbd", "s:base-9-disk-0/vm-100-disk-0", false),
            ("rbd", "s:base-100-disk-0", true),
            ("zfspool", "s:subvol-100-disk-0", false),
            ("zfspool", "s:basevol-100-disk-0", true),
            ("lvmthin", "s:vm-100-disk-0", false),
            ("zfs", "s:vm-100-disk-0", false),
            ("dir", "s:100/vm-100-disk-0.qcow2", false),
            ("dir", "s:9/base-9-disk-0.raw/100/vm-100-disk-0.qcow2", false),
            ("dir", "s:100/vm-100-disk-0.raw", true),
            ("nfs", "s:100/vm-100-disk-0.vmdk", true),
            ("dir", "s:100/subvol-100-disk-0.subvol", true),
            ("btrfs", "s:100/vm-100-disk-0.raw", false),
            ("btrfs", "s:100/subvol-100-disk-0.subvol", false),
            ("btrfs", "s:100/vm-100-disk-0.vmdk", true),
            ("lvm", "s:vm-100-disk-0", true),
            ("lvm", "s:vm-100-disk-0.qcow2", false),
            ("iscsi", "s:0.0.1.scsi-3600a", true),
            ("iscsidirect", "s:lun1", true),
            ("somebodys", "s:vm-100-disk-0.raw", false),
        ] {
            let found = blocker(&disk("scsi0", Some(plugin), volume));
            assert_eq!(found.is_some(), is_blocker, "{plugin} {volume}: {found:?}");
        }
    }

    #[test]
    fn the_way_out_is_one_that_pve_has() {
        let nas = disk("scsi1", Some("nfs"), "nas:100/vm-100-disk-1.raw");
        let says = |kind, disk: &DiskFacts| refusal(&guest(kind), std::slice::from_ref(disk));
        assert!(says(GuestKind::Qemu, &nas).contains("qm disk move 100 scsi1 nas --format qcow2"));
        assert!(says(GuestKind::Lxc, &nas).contains("pct move-volume 100 scsi1 STORAGE"));
        let tpm = disk("tpmstate0", Some("nfs"), "nas:100/vm-100-disk-2.raw");
        let lvm = disk("scsi0", Some("lvm"), "san:vm-100-disk-0");
        for no_qcow2 in [tpm, lvm] {
            let text = says(GuestKind::Qemu, &no_qcow2);
            assert!(!text.contains("qcow2") && text.contains("STORAGE"), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_named_is_not_guessed() {
        let text = refusal(&guest(GuestKind::Qemu), &[disk("scsi0", None, "x:vm-100-disk-0")]);
        assert!(text.contains("does not say which") && text.contains("Datastore.Audit"), "{text}");
        let own = [disk("scsi0", Some("rbd"), "x:vm-100-disk-0")];
        assert!(!refusal(&guest(GuestKind::Qemu), &own).contains("scsi0"));
    }
}
