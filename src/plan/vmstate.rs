//! Where PVE puts the memory of a machine whose snapshot includes it, and how much room that takes
//! there. Not whether there is that room: `snapshot` asks that.
//!
//! The rules are PVE's (qemu-server 9.2: `find_vmstate_storage`, `__snapshot_save_vmstate`).

/// The memory of a running machine, as far as its snapshot needs room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryFacts {
    /// The storage that takes it.
    pub storage: String,
    /// Bytes that PVE allocates there.
    pub needed: u64,
    /// Bytes used and bytes in all of that storage on the guest's node, where PVE knows.
    pub usage: Option<(u64, u64)>,
    /// What the guest's node has of that storage.
    pub place: Place,
}

/// What a node has of a storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It has the storage, of this type.
    Here(String),
    /// Other nodes have it, and this one does not.
    Elsewhere,
    /// PVE shows it on no node: it is disabled, or not there, or the user may not see it.
    Unseen,
}

/// A storage that holds a disk of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedStorage {
    /// Its id.
    pub id: String,
    /// Whether all nodes see the same.
    pub shared: bool,
    /// Whether its volumes are files.
    pub file_based: bool,
}

/// Types of storages in which PVE makes no volumes (`alloc_image` of their plugins).
const NO_VOLUMES: [&str; 4] = ["iscsi", "iscsidirect", "pbs", "esxi"];

/// What PVE takes where a machine has no disk at all.
const LAST_RESORT: &str = "local";

/// MiB of a machine without the option `memory`.
const DEFAULT_MIB: u64 = 512;

/// MiB for the state of the devices.
const DEVICES_MIB: u64 = 500;

/// The storage that takes the memory: the one that is configured (`vmstatestorage`), else one with a
/// disk of the machine, shared ones first; of several the last one of files in the order of their
/// names, or the first of the others.
pub fn target(configured: Option<&str>, used: &[UsedStorage]) -> String {
    if let Some(storage) = configured {
        return storage.to_owned();
    }
    let mut sorted: Vec<&UsedStorage> = used.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let of = |shared: bool| {
        let all = || sorted.iter().filter(|storage| storage.shared == shared);
        let files = all().rfind(|storage| storage.file_based);
        files.or_else(|| all().next()).map(|storage| storage.id.clone())
    };
    of(true).or_else(|| of(false)).unwrap_or_else(|| LAST_RESORT.to_owned())
}

/// Bytes that PVE allocates for the memory of a machine with this option `memory`: twice the memory,
/// as the machine goes on while it is written, and room for the devices.
pub fn needed(memory: Option<&str>) -> u64 {
    let parts = memory.unwrap_or_default().split(',').map(str::trim);
    let number = |part: &str| part.strip_prefix("current=").unwrap_or(part).parse::<u64>().ok();
    let mib = parts.filter_map(number).next().unwrap_or(DEFAULT_MIB);
    (mib.saturating_mul(2)).saturating_add(DEVICES_MIB).saturating_mul(1 << 20)
}

/// Why the storage cannot take memory at all, if it cannot. One that is not seen may.
pub(super) fn unfit(memory: &MemoryFacts) -> Option<String> {
    let why = match &memory.place {
        Place::Here(plugin) if NO_VOLUMES.contains(&plugin.as_str()) => {
            format!("where PVE makes no volumes ({plugin})")
        }
        Place::Elsewhere => "which its node does not have".to_owned(),
        Place::Here(_) | Place::Unseen => return None,
    };
    Some(format!(
        "its memory would go to storage {}, {why}: set vmstatestorage of the guest to another, or leave out --state",
        memory.storage
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(id: &str, shared: bool, file_based: bool) -> UsedStorage {
        UsedStorage { id: id.to_owned(), shared, file_based }
    }

    #[test]
    fn pves_choice_is_known() {
        let (ceph, rbd) = (used("ceph", true, false), used("rbd", true, false));
        let (nfs, nfs2) = (used("a-nfs", true, true), used("z-nfs", true, true));
        let (lvm, dir) = (used("aa-lvm", false, false), used("dir", false, true));
        for (storages, expected) in [
            (vec![], "local"),
            (vec![rbd.clone(), ceph.clone()], "ceph"),
            (vec![lvm.clone(), ceph.clone()], "ceph"),
            (vec![lvm.clone(), dir.clone()], "dir"),
            (vec![lvm.clone()], "aa-lvm"),
            (vec![nfs2, rbd.clone(), nfs], "z-nfs"),
            (vec![dir, rbd], "rbd"),
        ] {
            assert_eq!(target(None, &storages), expected, "{storages:?}");
            assert_eq!(target(Some("chosen"), &storages), "chosen");
        }
    }

    #[test]
    fn twice_the_memory_and_some_more() {
        assert_eq!(needed(Some("4096")), 8692 << 20);
        assert_eq!(needed(Some("current=2048")), 4596 << 20);
        assert_eq!(needed(None), 1524 << 20);
        assert_eq!(needed(Some(&u64::MAX.to_string())), u64::MAX);
    }
}
