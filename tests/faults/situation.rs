//! The situations in which faults happen, and what must hold after each: right after the fault, and
//! after the next run, which has none.

use crate::common::{Backup, Lab, VMID};
use pve_ferry::plan::facts::SnapshotProtection;
use pve_ferry::report::{GuestOutcome, GuestStatus, Report};
use std::collections::BTreeMap;

/// What the repository and the volumes hold when the run begins in which something goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Situation {
    /// Nothing yet.
    First,
    /// A point, and changes since.
    Increment,
    /// A point, and one disk of two was removed and made again.
    Recreated,
    /// Points whose snapshots are protected.
    Protected,
}

impl Situation {
    pub const ALL: [Self; 4] = [Self::First, Self::Increment, Self::Recreated, Self::Protected];

    pub fn lab(self) -> Lab {
        let lab = Lab::new();
        if self != Self::First {
            lab.good_backup(&self.wanted());
            lab.write_somewhere(10);
        }
        if self == Self::Recreated {
            lab.storage.remove_volume("vm-100-disk-1");
            lab.storage.add_volume("vm-100-disk-1", 65_536).unwrap();
            crate::common::FOREIGN.iter().for_each(|name| lab.make_snapshot("vm-100-disk-1", name));
            lab.write_somewhere(20);
        }
        lab
    }

    pub fn wanted(self) -> Backup {
        let snapshots = match self {
            Self::Protected => SnapshotProtection::Protected,
            _ => SnapshotProtection::Unprotected,
        };
        Backup { snapshots, ..Backup::default() }
    }
}

/// What was there before the run with the fault.
pub struct Before {
    points: usize,
    snapshots: BTreeMap<String, Vec<String>>,
    content: BTreeMap<String, Vec<u8>>,
}

impl Before {
    pub fn of(lab: &Lab) -> Self {
        let volumes = || lab.volumes_of(VMID).into_iter();
        Self {
            points: lab.points("repository").len(),
            snapshots: volumes().map(|v| (v.clone(), lab.own_snapshots(&v))).collect(),
            content: volumes().map(|v| (v.clone(), lab.storage.read(&v).unwrap())).collect(),
        }
    }

    /// Whether the run made a point.
    pub fn committed(&self, lab: &Lab) -> bool {
        lab.points("repository").len() > self.points
    }

    /// What holds after every fault of a backup, whatever it was. The one outcome is handed back.
    pub fn check(&self, lab: &Lab, report: &Report, context: &str) -> GuestOutcome {
        let [outcome] = &report.guests[..] else { panic!("{context}: {report:#?}") };
        let committed = self.committed(lab);
        match outcome.status {
            GuestStatus::Ok | GuestStatus::Partial => {
                assert!(committed, "{context}: ok without a point: {outcome:#?}");
            }
            GuestStatus::Failed => {
                let error = outcome.error.as_deref().unwrap_or_default();
                // A server that is gone in the middle of the rename leaves nobody who knows.
                let unknown = error.contains("not known");
                assert!(!committed || unknown, "{context}: failed with a point: {outcome:#?}");
                assert_ne!(report.exit_code(), 0, "{context}");
                let stays = outcome.warnings.iter().any(|w| w.contains("restore point stays"));
                let claims = outcome.point.is_some() || !outcome.volumes.is_empty();
                assert!(
                    committed || stays || !claims,
                    "{context}: what was undone is not reported as saved: {outcome:#?}"
                );
            }
            GuestStatus::Skipped => panic!("{context}: skipped: {outcome:#?}"),
        }
        lab.assert_points_are_whole(context);
        lab.assert_foreign_snapshots_stay(context);
        self.check_snapshots(lab, context);
        let inside = lab.node.get(VMID);
        let guarded = !lab.node.guards().is_empty();
        assert!(inside.frozen.is_none() || guarded, "{context}: frozen without a guard");
        for (volume, bytes) in &self.content {
            assert!(lab.storage.read(volume).unwrap() == *bytes, "{context}: {volume} was changed");
        }
        outcome.clone()
    }

    /// A base goes only after its successor is there; what the run made is gone.
    fn check_snapshots(&self, lab: &Lab, context: &str) {
        if self.committed(lab) {
            return;
        }
        for (volume, before) in &self.snapshots {
            assert_eq!(lab.own_snapshots(volume), *before, "{context}: {volume}");
        }
    }
}

/// The next run, without a fault, succeeds and leaves everything as if nothing had happened.
pub fn converges(lab: &Lab, wanted: &Backup, context: &str) {
    let context = format!("{context}, second run");
    lab.node.fire_guards();
    lab.earlier_process_is_dead("repository");
    lab.write_somewhere(77);
    let wanted = Backup { disk: pve_ferry::repository::Disk::real(), ..wanted.clone() };
    let report = lab.backup(&wanted);
    assert_eq!(report.exit_code(), 0, "{context}: {report:#?}");
    lab.assert_points_are_whole(&context);
    lab.assert_tidy(1, &context);
    lab.assert_foreign_snapshots_stay(&context);
    let newest = lab.points("repository").pop().unwrap();
    assert_eq!(newest.manifest.images.len(), 2, "{context}");
}
