//! Which disk of a guest a file belongs to. A file's name joins pool, namespace and image with dots that
//! each of them may hold itself; the configuration says what there was to be named. Reads no file.

use crate::model::{DiskKey, VolumeId};

/// A disk of the guest's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDisk {
    /// Its key.
    pub key: DiskKey,
    /// Its volume.
    pub volume: VolumeId,
    /// `<pool>` or `<pool>.<namespace>` of the volume's storage, where storage.cfg still tells it.
    pub pool: Option<String>,
    /// The size in bytes that the configuration notes.
    pub size: Option<u64>,
}

/// How well a file's name fits a disk; none when it does not.
fn fit(file: &str, disk: &ConfigDisk) -> Option<u8> {
    let image = disk.volume.own_name();
    let pool = file.strip_suffix(image)?.strip_suffix('.').filter(|pool| !pool.is_empty())?;
    Some(match &disk.pool {
        Some(known) if known == pool => 3,
        // Many storages are called as their pool is.
        _ if disk.volume.storage == pool => 2,
        None => 1,
        Some(_) => 0,
    })
}

/// The disk of each file, where the names leave no doubt: better fits are settled first, and a disk
/// that is settled is nobody else's.
pub(super) fn resolve<'a>(files: &[&str], disks: &'a [ConfigDisk]) -> Vec<Option<&'a ConfigDisk>> {
    let mut settled: Vec<Option<&ConfigDisk>> = vec![None; files.len()];
    for level in (0..=3).rev() {
        while let Some((file, disk)) = next_settled(files, disks, &settled, level) {
            settled[file] = Some(disk);
        }
    }
    settled
}

/// A file and a disk that, among those not settled yet, fit only each other.
fn next_settled<'a>(
    files: &[&str],
    disks: &'a [ConfigDisk],
    settled: &[Option<&ConfigDisk>],
    level: u8,
) -> Option<(usize, &'a ConfigDisk)> {
    let open_files = || (0..files.len()).filter(|file| settled[*file].is_none());
    let is_open = |disk: &&ConfigDisk| settled.iter().flatten().all(|s| s.key != disk.key);
    let fits = |file: usize, disk: &ConfigDisk| fit(files[file], disk) >= Some(level);
    open_files().find_map(|file| {
        let mut candidates = disks.iter().filter(is_open).filter(|disk| fits(file, disk));
        let disk = candidates.next().filter(|_| candidates.next().is_none())?;
        let rivals = open_files().filter(|other| fits(*other, disk)).count();
        (rivals == 1).then_some((file, disk))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(key: &str, volume: &str, pool: Option<&str>) -> ConfigDisk {
        let pool = pool.map(str::to_owned);
        ConfigDisk { key: key.parse().unwrap(), volume: volume.parse().unwrap(), pool, size: None }
    }

    fn keys(files: &[&str], disks: &[ConfigDisk]) -> Vec<String> {
        let key = |disk: Option<&ConfigDisk>| disk.map_or("-".into(), |d| d.key.to_string());
        resolve(files, disks).into_iter().map(key).collect()
    }

    #[test]
    fn image_names_settle_most_disks_whatever_the_pool_is_called() {
        let disks = [
            disk("scsi0", "ceph:vm-1-disk-1", None),
            disk("scsi1", "ceph:base-9-disk-0/vm-1-disk-10", None),
            disk("ide2", "other:vm-1-cloudinit", None),
        ];
        let files =
            ["my.pool.ns.vm-1-disk-10", "2tb.vm-1-disk-1", "rbd.vm-1-cloudinit", "rbd.vm-1-disk-7"];
        assert_eq!(keys(&files, &disks), ["scsi1", "scsi0", "ide2", "-"]);
    }

    #[test]
    fn equal_image_names_are_settled_by_pool_or_storage_or_by_what_is_left() {
        let files = ["rbd.vm-1-disk-0", "ssd-rbd.vm-1-disk-0"];
        let by_pool = [
            disk("scsi0", "fast:vm-1-disk-0", Some("ssd-rbd")),
            disk("scsi1", "slow:vm-1-disk-0", Some("rbd")),
        ];
        assert_eq!(keys(&files, &by_pool), ["scsi1", "scsi0"]);
        let by_storage =
            [disk("scsi0", "ssd-rbd:vm-1-disk-0", None), disk("scsi1", "x:vm-1-disk-0", None)];
        assert_eq!(keys(&files, &by_storage), ["scsi1", "scsi0"]);
        let in_doubt = [disk("scsi0", "a:vm-1-disk-0", None), disk("scsi1", "b:vm-1-disk-0", None)];
        assert_eq!(keys(&files, &in_doubt), ["-", "-"]);
    }
}
