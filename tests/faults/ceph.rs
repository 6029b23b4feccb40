//! What administrators of Ceph do to images while their guests are backed up: migrations between pools
//! and mirrors of other clusters.

use crate::common::{Backup, Lab, block_on};
use pve_ferry::operation::{ResetRequest, ResetTarget};
use pve_ferry::plan::reset::ResetPolicy;
use pve_ferry::report::GuestStatus;
use pve_ferry::repository::{Disk, Repository};
use pve_ferry::run::{Mode, run};
use pve_ferry::select::Selection;
use pve_ferry::storage::memory::{Fault, Operation as Call};

const VOLUME: &str = "vm-100-disk-0";

fn deletions(lab: &Lab) -> usize {
    let of_volume = |call: &&String| call.starts_with("delete-snapshot") && call.contains(VOLUME);
    lab.storage.calls().iter().filter(of_volume).count()
}

/// Ceph's issue 15831: the next write of the guest would abort it.
#[test]
fn while_an_image_is_migrated_none_of_its_snapshots_is_deleted_and_a_later_run_does_it() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.storage.set_migrating(VOLUME, true).unwrap();
    lab.write_somewhere(3);
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let [guest] = &report.guests[..] else { panic!("{report:#?}") };
    assert!(guest.warnings.iter().any(|w| w.contains("rbd migration")), "{guest:#?}");
    assert_eq!((deletions(&lab), lab.own_snapshots(VOLUME).len()), (0, 2));
    assert_eq!(lab.own_snapshots("vm-100-disk-1").len(), 1);

    let request = ResetRequest {
        target: ResetTarget::Guests(Selection::parse("100").unwrap()),
        repository: Some(
            Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap(),
        ),
        policy: ResetPolicy::default(),
    };
    let reset = block_on(run(lab.ctx(), request, Mode::Execute)).unwrap();
    assert_eq!(reset.report.exit_code(), 3, "{:#?}", reset.report);
    assert_eq!((deletions(&lab), lab.own_snapshots(VOLUME).len()), (0, 2));

    lab.storage.set_migrating(VOLUME, false).unwrap();
    lab.good_backup(&Backup::default());
    lab.assert_tidy(1, "the migration is over");
    lab.assert_points_are_whole("the migration is over");
}

/// The snapshot of a run that fails stays, too; the next run takes it for what it is.
#[test]
fn a_run_that_fails_while_an_image_is_migrated_leaves_its_snapshot_and_names_it() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.storage.set_migrating(VOLUME, true).unwrap();
    lab.storage.inject(Call::Export, 1, Fault::Before);
    let report = lab.backup(&Backup::default());
    let [guest] = &report.guests[..] else { panic!("{report:#?}") };
    assert_eq!(guest.status, GuestStatus::Failed, "{guest:#?}");
    let named = |w: &String| w.contains("stays") && w.contains("is being migrated");
    assert!(guest.warnings.iter().any(named), "{guest:#?}");
    assert_eq!(lab.own_snapshots(VOLUME).len(), 2);
    lab.storage.set_migrating(VOLUME, false).unwrap();
    lab.good_backup(&Backup::default());
    lab.assert_tidy(1, "the migration is over");
}

#[test]
fn the_non_primary_image_of_a_mirror_is_named_as_such() {
    let lab = Lab::new();
    lab.storage.set_mirror_target(VOLUME, true).unwrap();
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let [guest] = &report.guests[..] else { panic!("{report:#?}") };
    let reason = &guest.skipped.iter().find(|skip| skip.disk == "scsi0").unwrap().reason;
    assert!(reason.contains("non-primary") && reason.contains("promote"), "{reason}");
    lab.storage.set_mirror_target("vm-100-disk-1", true).unwrap();
    let report = lab.backup(&Backup::default());
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert!(report.guests[0].error.as_ref().unwrap().contains("non-primary"), "{report:#?}");
}
