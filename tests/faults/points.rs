//! For every sequence of writes, discards, resizes and backups: every point equals the volumes of
//! its moment, and one snapshot per volume and chain stays.

use crate::common::{Backup, Lab, Restore, VMID};
use proptest::collection::vec;
use proptest::prelude::*;
use pve_ferry::repository::image::Compression;

const DISKS: usize = 3;
const LABELS: [&str; 2] = ["daily", "hourly"];
const MOST: u64 = 200_000;

/// What happens to the guest.
#[derive(Debug, Clone)]
enum Happens {
    Write {
        disk: usize,
        at: u64,
        length: u64,
        seed: u8,
    },
    Discard {
        disk: usize,
        at: u64,
        length: u64,
    },
    Resize {
        disk: usize,
        size: u64,
    },
    /// Somebody deletes the newest of our snapshots of a disk.
    LosesSnapshot {
        disk: usize,
    },
    /// The disk is removed and made again under its name.
    IsMadeAgain {
        disk: usize,
        size: u64,
    },
    Backup {
        label: usize,
    },
}

/// Offsets and sizes that like the borders of sectors, blocks and zero runs.
fn place() -> impl Strategy<Value = u64> {
    let near = |unit: u64| (0..MOST / unit).prop_map(move |n| n * unit);
    prop_oneof![near(512), near(4096), near(65_536), 0..MOST]
}

fn happens() -> impl Strategy<Value = Happens> {
    let disk = 0..DISKS;
    prop_oneof![
        5 => (disk.clone(), place(), 1..70_000_u64, any::<u8>())
            .prop_map(|(disk, at, length, seed)| Happens::Write { disk, at, length, seed }),
        3 => (disk.clone(), place(), 1..140_000_u64)
            .prop_map(|(disk, at, length)| Happens::Discard { disk, at, length }),
        2 => (disk.clone(), place()).prop_map(|(disk, size)| Happens::Resize { disk, size: size + 512 }),
        1 => disk.clone().prop_map(|disk| Happens::LosesSnapshot { disk }),
        1 => (disk, place()).prop_map(|(disk, size)| Happens::IsMadeAgain { disk, size: size + 512 }),
        6 => (0..LABELS.len()).prop_map(|label| Happens::Backup { label }),
    ]
}

fn apply(lab: &Lab, event: &Happens) {
    let name = |disk: &usize| format!("vm-{VMID}-disk-{disk}");
    let size = |disk: &usize| lab.storage.read(&name(disk)).unwrap().len() as u64;
    match event {
        Happens::Write { disk, at, length, seed } => {
            let length = (*length).min(size(disk).saturating_sub(*at));
            // Zeros among the data, as file systems write them.
            let bytes: Vec<u8> =
                (0..length).map(|n| if n % 9000 < 5000 { *seed } else { 0 }).collect();
            if !bytes.is_empty() {
                lab.storage.write(&name(disk), *at, &bytes).unwrap();
            }
        }
        Happens::Discard { disk, at, length } => {
            let end = (at + length).min(size(disk));
            if end > *at {
                lab.storage.discard(&name(disk), *at, end - at).unwrap();
            }
        }
        Happens::Resize { disk, size } => lab.storage.resize(&name(disk), *size).unwrap(),
        Happens::LosesSnapshot { disk } => {
            if let Some(newest) = lab.own_snapshots(&name(disk)).pop() {
                lab.storage.remove_snapshot(&name(disk), &newest).unwrap();
            }
        }
        Happens::IsMadeAgain { disk, size } => {
            lab.storage.remove_volume(&name(disk));
            lab.storage.add_volume(&name(disk), *size).unwrap();
        }
        Happens::Backup { label } => {
            lab.good_backup(&Backup { label: LABELS[*label], ..Backup::default() });
        }
    }
}

/// The newest snapshot of each chain that is there belongs to it, and none is there twice.
fn at_most_one_snapshot_per_chain(lab: &Lab) {
    for volume in lab.volumes_of(VMID) {
        let own = lab.own_snapshots(&volume);
        let mut chains: Vec<&str> = own.iter().map(|name| &name[..14]).collect();
        let all = chains.len();
        chains.sort_unstable();
        chains.dedup();
        assert_eq!(chains.len(), all, "{volume} has {own:?}");
    }
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::Zstd(1)), Just(Compression::None)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_point_equals_the_volumes_of_its_moment(
        sizes in vec(place().prop_map(|size| size + 512), DISKS),
        events in vec(happens(), 1..40),
        compression in compression(),
        chosen in any::<prop::sample::Index>(),
    ) {
        let lab = Lab::empty();
        *lab.compression.lock().unwrap() = compression;
        lab.add_guest(VMID, &sizes);
        for event in &events {
            apply(&lab, event);
            at_most_one_snapshot_per_chain(&lab);
        }
        // The last runs leave exactly one snapshot per volume and chain, whatever was before.
        for label in 0..LABELS.len() {
            apply(&lab, &Happens::Backup { label });
        }
        lab.assert_points_are_whole("at the end");
        lab.assert_tidy(LABELS.len(), "at the end");

        let points = lab.points("repository");
        let point = chosen.get(&points);
        let mut wanted = Restore::to(901);
        wanted.sought.label = Some(point.manifest.label.clone());
        wanted.sought.time = Some(point.manifest.time);
        let report = lab.restore(&wanted).unwrap();
        prop_assert_eq!(report.exit_code(), 0, "{:#?}", report);
        for disk in 0..DISKS {
            let restored = lab.storage.read(&format!("vm-901-disk-{disk}")).unwrap();
            let expected = lab.expected(point, &format!("scsi{disk}"));
            prop_assert!(restored == expected, "disk {}", disk);
        }
    }
}
