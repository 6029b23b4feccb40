//! Checks of what is stored that the user stops: what was found until then is told, and damage is noted.

use crate::common::{Backup, Lab, block_on};
use pve_ferry::cancel::Cancel;
use pve_ferry::operation::{AuditRequest, CheckRequest, Meant};
use pve_ferry::progress::{Meter, Progress};
use pve_ferry::report::{Failure, Report};
use pve_ferry::run::{Mode, run};
use pve_ferry::survey::Home;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Stops the run before it reads its n-th image: a check asks with 0 bytes before each one.
struct StopsBefore {
    image: usize,
    asked: AtomicUsize,
    cancel: Cancel,
}

impl Progress for StopsBefore {
    fn begin(&self, _what: &str, _total: u64) -> Arc<dyn Meter> {
        let (image, cancel) = (self.image, self.cancel.clone());
        Arc::new(Self { image, asked: AtomicUsize::new(0), cancel })
    }

    fn note(&self, _line: &str) {}
}

impl Meter for StopsBefore {
    fn add(&self, bytes: u64) {
        if bytes == 0 && self.asked.fetch_add(1, Ordering::SeqCst) + 1 == self.image {
            self.cancel.cancel();
        }
    }

    fn end(&self) {}
}

fn request(lab: &Lab) -> CheckRequest {
    CheckRequest {
        path: lab.repository("repository"),
        meant: Meant { vmids: Vec::new(), label: None },
        part: None,
        mark: true,
        home: Home::default(),
    }
}

fn stopped_before(lab: &Lab, image: usize) -> Report {
    let mut ctx = lab.without_cluster();
    let cancel = ctx.cancel.clone();
    ctx.progress = Arc::new(StopsBefore { image, asked: AtomicUsize::new(0), cancel });
    block_on(run(Arc::new(ctx), request(lab), Mode::Execute)).unwrap().report
}

/// Damages all images of the first of two points.
fn damaged() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.good_backup(&Backup::default());
    let point = lab.points("repository").remove(0);
    for image in &point.manifest.images {
        let file = point.dir.join(&image.file);
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::write(&file, bytes).unwrap();
    }
    lab
}

#[test]
fn damage_that_was_found_before_the_user_stopped_the_check_is_told_and_noted() {
    let lab = damaged();
    let report = stopped_before(&lab, 2);
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    let guest = &report.guests[0];
    assert_eq!(guest.failure, Some(Failure::Damage), "{guest:#?}");
    assert!(guest.error.as_deref().unwrap().starts_with("DAMAGED\n"), "{guest:#?}");
    assert_eq!(guest.warnings, ["interrupted; not all of it was read"]);
    assert!(lab.points("repository").iter().all(|point| point.attributes.has_failed()));
}

#[test]
fn a_check_that_was_stopped_before_it_found_anything_notes_nothing() {
    let lab = damaged();
    let report = stopped_before(&lab, 1);
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    let guest = &report.guests[0];
    assert_eq!(guest.failure, Some(Failure::Interrupted), "{guest:#?}");
    assert_eq!(guest.error.as_deref(), Some("interrupted; not all of it was read"));
    let noted = |point: &pve_ferry::repository::StoredPoint| point.attributes.verified.is_some();
    assert!(!lab.points("repository").iter().any(noted));
}

/// Stops the run where the second comparison begins.
struct StopsTheSecond(AtomicUsize, Cancel);

impl Progress for StopsTheSecond {
    fn begin(&self, what: &str, _total: u64) -> Arc<dyn Meter> {
        if what == "audit" && self.0.fetch_add(1, Ordering::SeqCst) == 1 {
            self.1.cancel();
        }
        Arc::new(pve_ferry::progress::Silent)
    }

    fn note(&self, _line: &str) {}
}

#[test]
fn a_comparison_that_the_user_stops_is_interrupted_and_nothing_of_it_counts() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let mut ctx = Arc::into_inner(lab.ctx()).unwrap();
    ctx.progress = Arc::new(StopsTheSecond(AtomicUsize::new(0), ctx.cancel.clone()));
    let CheckRequest { path, meant, .. } = request(&lab);
    let request = AuditRequest { path, meant, parts: 1 };
    let performed = block_on(run(Arc::new(ctx), request, Mode::Execute)).unwrap();
    assert_eq!(performed.report.exit_code(), 130, "{:#?}", performed.report);
    assert_eq!(performed.report.guests[0].failure, Some(Failure::Interrupted));
    assert!(performed.turns[0].findings.is_empty(), "{:#?}", performed.turns);
    assert!(lab.points("repository").iter().all(|point| point.attributes.audited.is_none()));
}

/// A guest's directory in which nothing was ever saved is none that was checked.
#[test]
fn a_directory_without_points_is_in_no_report() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let directory = lab.guest_directories("repository").remove(0);
    for label in std::fs::read_dir(directory.path()).unwrap() {
        let path = label.unwrap().path();
        let _ = std::fs::remove_dir_all(&path).or_else(|_| std::fs::remove_file(&path));
    }
    let performed = block_on(run(Arc::new(lab.without_cluster()), request(&lab), Mode::Execute));
    let performed = performed.unwrap();
    assert_eq!(performed.report.exit_code(), 4, "{:#?}", performed.report);
    assert!(performed.report.guests.is_empty() && performed.turns.is_empty());
}
