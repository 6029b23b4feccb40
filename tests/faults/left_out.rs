//! Guests that a run leaves out or refuses: nothing of them stands in the repository afterwards.

use crate::common::{Backup, Lab};
use pve_ferry::report::GuestStatus;

/// The directories of guests as they stand, whatever a repository says of them.
fn directories(lab: &Lab) -> Vec<String> {
    let root = lab.repository("repository").join("pve-ferry");
    let clusters = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let guests =
        clusters.filter(|path| path.is_dir()).flat_map(|path| std::fs::read_dir(path).unwrap());
    let mut names: Vec<String> =
        guests.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_guest_that_is_refused_or_skipped_leaves_no_directory_in_the_repository() {
    let lab = Lab::new();
    let wanted = |vmid: &str| Backup { selection: vmid.into(), ..Backup::default() };
    lab.add_guest(101, &[65_536]);
    lab.edit_config(101, "scsi0:", "lock: migrate\nscsi0:");
    let report = lab.backup(&wanted("101"));
    assert_eq!(report.guests[0].status, GuestStatus::Failed, "{report:#?}");
    assert_eq!(directories(&lab), [""; 0]);
    lab.add_guest(102, &[65_536]);
    lab.edit_config(102, "size=64K", "size=64K,backup=0");
    let report = lab.backup(&wanted("102"));
    assert_eq!(report.guests[0].status, GuestStatus::Skipped, "{report:#?}");
    assert_eq!(directories(&lab), [""; 0]);
    // One that has points keeps them, refused or not.
    lab.edit_config(101, "lock: migrate\n", "");
    lab.good_backup(&wanted("101"));
    let one = directories(&lab);
    assert_eq!(one.len(), 1);
    lab.edit_config(101, "scsi0:", "lock: migrate\nscsi0:");
    assert_eq!(lab.backup(&wanted("101,102")).guests.len(), 2);
    assert_eq!(directories(&lab), one);
    assert_eq!(lab.points("repository").len(), 1);
    lab.edit_config(101, "lock: migrate\n", "");
    lab.good_backup(&wanted("101"));
    lab.assert_points_are_whole("after it was refused");
}

/// As a version did that left it behind, or a run that was killed.
#[test]
fn a_directory_that_holds_nothing_but_locks_is_no_guest_of_the_repository() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let directory = lab.guest_directories("repository").remove(0);
    let bare = directory.path().with_file_name("101-000000ab");
    std::fs::create_dir_all(bare.join("locks")).unwrap();
    let found = lab.guest_directories("repository");
    assert_eq!(found.len(), 1, "{found:?}");
    std::fs::write(bare.join("guest.json"), "{}").unwrap();
    assert_eq!(lab.guest_directories("repository").len(), 2);
}
