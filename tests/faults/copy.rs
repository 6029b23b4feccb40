//! Copying and moving between repositories: what arrives is what was there, a copy can be gone on
//! with, and whatever fails, nothing is lost and the next run converges.

use crate::common::{Backup, Lab, block_on, read_chain};
use crate::prune::{pruned, visible, visible_in};
use pve_ferry::cancel::Cancel;
use pve_ferry::model::{ChainId, Moment, Share};
use pve_ferry::operation::CopyRequest;
use pve_ferry::plan::copy::Source;
use pve_ferry::progress::{Meter, Progress, Silent};
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::image::ChainReader;
use pve_ferry::repository::{
    Attributes, AuditRecord, Disk, Fault, LockMode, LockOptions, Repository, StoredPoint,
    VerifyRequest, chain_of,
};
use pve_ferry::retention::{Rules, Span};
use pve_ferry::run::{Mode, Performed, run};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

const FROM: &str = "repository";
const TO: &str = "second";

pub struct Wanted {
    pub from: Disk,
    pub to: Disk,
    pub label: Option<&'static str>,
    pub source: Source,
    pub mode: Mode,
    pub progress: Arc<dyn Progress>,
    pub cancel: Cancel,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            from: Disk::real(),
            to: Disk::real(),
            label: None,
            source: Source::Stays,
            mode: Mode::Execute,
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
        }
    }
}

pub fn moving() -> Wanted {
    Wanted { source: Source::Moves, ..Wanted::default() }
}

pub fn request(lab: &Lab, wanted: &Wanted) -> anyhow::Result<CopyRequest> {
    Ok(CopyRequest {
        from: Repository::open_target(&lab.repository(FROM), wanted.from.clone())?,
        to: Repository::open_target(&lab.repository(TO), wanted.to.clone())?,
        selection: None,
        label: wanted.label.map(|label| label.parse().unwrap()),
        source: wanted.source,
    })
}

pub fn performed(lab: &Lab, wanted: &Wanted) -> anyhow::Result<Performed> {
    let request = request(lab, wanted)?;
    let mut ctx = lab.without_cluster();
    (ctx.progress, ctx.cancel) = (wanted.progress.clone(), wanted.cancel.clone());
    block_on(run(Arc::new(ctx), request, wanted.mode))
}

pub fn copied(lab: &Lab, wanted: &Wanted) -> Report {
    performed(lab, wanted).unwrap().report
}

/// Two labels, each a base and increments; of the daily ones the base is hidden, one is protected.
fn two_labels() -> Lab {
    let lab = Lab::new();
    for round in 2..6 {
        for label in ["daily", "weekly"] {
            lab.good_backup(&Backup { label, ..Backup::default() });
            lab.write_somewhere(round);
        }
    }
    let directory = lab.guest_directories(FROM).remove(0);
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = directory.lock(LockMode::Exclusive, &options).unwrap();
    let points = directory.load().unwrap().points;
    directory.hide_point(&lock, &points[0]).unwrap();
    let notes = "the auditor's".to_owned();
    let attributes = Attributes { protected: true, notes, ..points[2].attributes.clone() };
    directory.set_attributes(&lock, &points[2], &attributes).unwrap();
    drop(lock);
    lab
}

/// A repository's points without the place where it is.
fn content(lab: &Lab, repository: &str) -> Vec<StoredPoint> {
    let root = lab.repository(repository);
    let relative = |point: StoredPoint| StoredPoint {
        dir: point.dir.strip_prefix(&root).unwrap().to_owned(),
        ..point
    };
    lab.points(repository).into_iter().map(relative).collect()
}

/// What the points held when they were made, by their place.
struct Truth(BTreeMap<PathBuf, BTreeMap<String, Vec<u8>>>);

impl Truth {
    fn of(lab: &Lab) -> Self {
        let mut truth = BTreeMap::new();
        for (point, place) in lab.points(FROM).iter().zip(content(lab, FROM)) {
            let disks = point.manifest.images.iter().map(|image| image.disk.to_string());
            let disks = disks.map(|disk| (disk.clone(), lab.expected(point, &disk)));
            truth.insert(place.dir, disks.collect());
        }
        Self(truth)
    }

    /// Every point in both repositories is bit by bit what it was, and is found so by `verify`.
    fn check(&self, lab: &Lab, context: &str) {
        for repository in [FROM, TO] {
            let root = lab.repository(repository);
            for directory in lab.guest_directories(repository) {
                let history = directory.load().unwrap();
                assert_eq!(history.unreadable, [], "{context}");
                for point in &history.points {
                    let place = point.dir.strip_prefix(&root).unwrap();
                    for (disk, expected) in self.0.get(place).into_iter().flatten() {
                        let links = chain_of(&history, point, &disk.parse().unwrap()).unwrap();
                        let bytes = read_chain(&ChainReader::open(&links).unwrap());
                        assert!(bytes == *expected, "{context}: {disk} of {}", point.dir.display());
                    }
                }
                let select = |_: &StoredPoint| true;
                let progress = &|_| Ok(());
                let request = VerifyRequest { select: &select, subset: None, threads: 1, progress };
                assert_eq!(directory.verify(&request).unwrap().damage, [], "{context}");
            }
        }
    }
}

#[test]
fn what_arrives_is_what_was_there_marks_order_and_hidden_points_included() {
    let lab = two_labels();
    let (before, truth) = (content(&lab, FROM), Truth::of(&lab));
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(report.guests[0].changes.len(), 8, "{report:#?}");
    assert!(content(&lab, TO) == before);
    assert!(content(&lab, FROM) == before);
    truth.check(&lab, "copied");
    let again = copied(&lab, &Wanted::default());
    assert_eq!((again.exit_code(), again.guests[0].changes.len()), (0, 0), "{again:#?}");
    let directory = lab.guest_directories(TO).remove(0);
    let names: Vec<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in ["guest.json", "RESTORE.txt"] {
        assert!(names.iter().any(|n| n == name), "{names:?}");
    }
}

#[test]
fn backups_go_on_in_both_without_touching_the_bases_of_the_other_and_a_later_copy_brings_only_what_is_new()
 {
    let lab = two_labels();
    copied(&lab, &Wanted::default());
    lab.good_backup(&Backup::default());
    lab.write_somewhere(50);
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.guests[0].changes.len(), 1, "{report:#?}");
    lab.learn(TO);
    // Both go on, each with snapshots of its own.
    for (round, there) in [(51, "base"), (52, "increment"), (53, "increment")] {
        for label in ["daily", "weekly"] {
            for (repository, kind) in [(TO, there), (FROM, "increment")] {
                let wanted = Backup { repository, label, ..Backup::default() };
                let outcome = lab.good_backup(&wanted);
                let fits = outcome.volumes.iter().all(|volume| volume.kind == kind);
                assert!(fits, "{repository} {label} {round}: {outcome:#?}");
                assert!(outcome.changes.iter().all(|c| !c.contains("interrupted")));
            }
        }
        lab.write_somewhere(round);
    }
    Truth::of(&lab).check(&lab, "gone on");
    for volume in lab.volumes_of(100) {
        assert_eq!(lab.own_snapshots(&volume).len(), 4, "two labels, two repositories");
    }
    // Now no order of both is true.
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.exit_code(), 13, "{report:#?}");
}

#[test]
fn a_copy_into_a_repository_that_has_merged_brings_no_hidden_points_back() {
    let lab = two_labels();
    copied(&lab, &Wanted::default());
    lab.learn(TO);
    let rules = Rules { retain: Some(Span::Points(2)), ..Rules::default() };
    pruned(&lab, rules.clone(), Disk::real(), Mode::Execute);
    lab.good_backup(&Backup::default());
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.guests[0].changes.len(), 1, "{report:#?}");
    Truth::of(&lab).check(&lab, "merged in the source");
    // And the other way round: what was merged there is enough for what comes.
    lab.write_somewhere(60);
    lab.good_backup(&Backup { label: "weekly", ..Backup::default() });
    let report = copied(&lab, &Wanted { label: Some("weekly"), ..Wanted::default() });
    assert_eq!(report.guests[0].changes.len(), 1, "{report:#?}");
    Truth::of(&lab).check(&lab, "one label");
}

#[test]
fn a_label_is_copied_with_what_it_needs_and_nothing_else() {
    let lab = two_labels();
    let truth = Truth::of(&lab);
    let wanted = Wanted { label: Some("daily"), ..Wanted::default() };
    let report = copied(&lab, &wanted);
    assert_eq!(report.guests[0].changes.len(), 4, "{report:#?}");
    let labels: Vec<String> =
        lab.points(TO).iter().map(|point| point.manifest.label.to_string()).collect();
    assert_eq!(labels, ["daily"; 4]);
    assert!(lab.points(TO)[0].manifest.is_hidden());
    truth.check(&lab, "one label");
}

#[test]
fn a_move_leaves_nothing_of_what_was_moved_and_the_rest_whole() {
    let lab = two_labels();
    let (before, truth) = (content(&lab, FROM), Truth::of(&lab));
    let report = copied(&lab, &Wanted { label: Some("daily"), ..moving() });
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!((lab.points(FROM).len(), lab.points(TO).len()), (4, 4));
    truth.check(&lab, "one label moved");
    let report = copied(&lab, &moving());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(lab.points(FROM), []);
    assert!(content(&lab, TO) == before);
    truth.check(&lab, "all moved");
    // The source can be backed up to as if nothing had been there.
    let outcome = lab.good_backup(&Backup::default());
    assert!(outcome.volumes.iter().all(|volume| volume.kind == "base"), "{outcome:#?}");
}

/// The points' attributes are changed as `protect` or `verify --mark` change them.
fn mark(lab: &Lab, repository: &str, which: usize, change: impl FnOnce(&mut Attributes)) {
    let directory = lab.guest_directories(repository).remove(0);
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = directory.lock(LockMode::Exclusive, &options).unwrap();
    let point = directory.load().unwrap().points.remove(which);
    let mut attributes = point.attributes.clone();
    change(&mut attributes);
    directory.set_attributes(&lock, &point, &attributes).unwrap();
}

/// Two points, copied; then the first is protected and the second found wrong, in the source only.
fn marked_since() -> Lab {
    let lab = Lab::new();
    for round in 2..4 {
        lab.good_backup(&Backup::default());
        lab.write_somewhere(round);
    }
    assert_eq!(copied(&lab, &Wanted::default()).exit_code(), 0);
    mark(&lab, FROM, 0, |a| (a.protected, a.notes) = (true, "the auditor's".to_owned()));
    let wrong = lab.points(FROM)[1].manifest.images[0].id;
    mark(&lab, FROM, 1, |a| {
        let (share, at) = (Share::ALL, Moment::from_unix(1_790_000_000));
        let why = Some("scsi0: a block differs".to_owned());
        a.audited = Some(AuditRecord { share, at, failed_images: vec![wrong], why });
    });
    lab
}

#[test]
fn marks_made_since_the_copy_go_over_with_the_next_copy_or_move() {
    for source in [Source::Stays, Source::Moves] {
        let lab = marked_since();
        let before = content(&lab, FROM);
        let wanted = || Wanted { source, ..Wanted::default() };
        let report = copied(&lab, &wanted());
        assert_eq!(report.exit_code(), 0, "{report:#?}");
        assert!(content(&lab, TO) == before, "{source:?}: {:#?}", content(&lab, TO));
        if source == Source::Stays {
            let again = copied(&lab, &wanted());
            assert_eq!(again.guests[0].changes.len(), 0, "{again:#?}");
            continue;
        }
        assert_eq!(lab.points(FROM), []);
        // No increment follows what was found wrong.
        lab.learn(TO);
        let outcome = lab.good_backup(&Backup { repository: TO, ..Backup::default() });
        let kinds: Vec<&str> = outcome.volumes.iter().map(|v| v.kind.as_str()).collect();
        assert!(kinds.contains(&"base"), "{outcome:#?}");
    }
}

#[test]
fn nothing_goes_from_the_source_before_its_marks_are_in_the_target() {
    let mut failed = 0;
    for nth in 0.. {
        let lab = marked_since();
        let before = content(&lab, FROM);
        let disk = Disk::failing_at(nth, Fault::Io);
        let report = performed(&lab, &Wanted { to: disk.clone(), ..moving() });
        if disk.writes() <= nth {
            break;
        }
        failed += usize::from(report.is_ok_and(|r| r.report.exit_code() != 0));
        let (here, there) = (content(&lab, FROM), content(&lab, TO));
        for point in &before {
            let is_somewhere = here.contains(point) || there.contains(point);
            assert!(is_somewhere, "write {nth}: {} lost its marks", point.dir.display());
        }
        lab.earlier_process_is_dead(TO);
        assert!([0, 4].contains(&copied(&lab, &moving()).exit_code()), "write {nth}");
        assert!(content(&lab, TO) == before, "write {nth}");
    }
    assert!(failed > 3, "{failed} writes were let fail");
}

/// The kinds of a backup's volumes, which are all alike.
fn kind(lab: &Lab, repository: &'static str) -> String {
    let outcome = lab.good_backup(&Backup { repository, ..Backup::default() });
    let kinds: BTreeSet<String> = outcome.volumes.into_iter().map(|volume| volume.kind).collect();
    kinds.into_iter().collect::<Vec<_>>().join("+")
}

#[test]
fn a_move_takes_the_chain_along_also_after_a_copy_and_the_source_begins_a_new_one() {
    for copied_before in [false, true] {
        let lab = Lab::new();
        for round in 2..5 {
            lab.good_backup(&Backup::default());
            if copied_before && round < 4 {
                copied(&lab, &Wanted::default());
            }
            lab.write_somewhere(round);
        }
        let report = copied(&lab, &moving());
        assert_eq!((report.exit_code(), lab.points(FROM).len()), (0, 0), "{report:#?}");
        lab.learn(TO);
        // The source goes on first: it must not take the base that the target needs.
        assert_eq!(kind(&lab, FROM), "base");
        lab.write_somewhere(50);
        assert_eq!(kind(&lab, TO), "increment");
        assert_eq!((kind(&lab, FROM), kind(&lab, TO)), ("increment".into(), "increment".into()));
        Truth::of(&lab).check(&lab, "gone on");
        for volume in lab.volumes_of(100) {
            assert_eq!(lab.own_snapshots(&volume).len(), 2, "one for each repository");
        }
    }
}

/// What is gone from the source still stands in the target: the next point comes after it.
#[test]
fn a_source_that_was_emptied_or_lost_its_newest_points_can_be_copied_on() {
    for deleted in [None, Some(1), Some(3)] {
        let lab = Lab::new();
        for round in 2..5 {
            lab.good_backup(&Backup::default());
            lab.write_somewhere(round);
        }
        let wanted = if deleted.is_none() { moving() } else { Wanted::default() };
        assert_eq!(copied(&lab, &wanted).exit_code(), 0);
        let directory = lab.guest_directories(FROM).remove(0);
        let options = LockOptions { wait: None, what: "test".into() };
        let lock = directory.lock(LockMode::Exclusive, &options).unwrap();
        for point in lab.points(FROM).iter().rev().take(deleted.unwrap_or_default()) {
            directory.delete_point(&lock, point).unwrap();
        }
        drop(lock);
        lab.good_backup(&Backup::default());
        let report = copied(&lab, &Wanted::default());
        assert_eq!(report.exit_code(), 0, "{deleted:?}: {report:#?}");
        let order: Vec<u64> = lab.points(TO).iter().map(|point| point.manifest.seq).collect();
        assert_eq!(order, [1, 2, 3, 4], "{deleted:?}");
    }
}

#[test]
fn a_target_that_has_begun_its_own_chain_keeps_it_when_the_rest_is_moved() {
    let lab = two_labels();
    copied(&lab, &Wanted::default());
    lab.learn(TO);
    assert_eq!(kind(&lab, TO), "base");
    let report = copied(&lab, &moving());
    assert_eq!((report.exit_code(), lab.points(FROM).len()), (0, 0), "{report:#?}");
    let changes = report.guests[0].changes.join("\n");
    assert!(
        changes.contains("chain of weekly") && !changes.contains("chain of daily"),
        "{changes}"
    );
    assert_eq!(kind(&lab, TO), "increment");
    // The source has the chain still, and clears its snapshots away.
    assert_eq!((kind(&lab, FROM), kind(&lab, TO)), ("base".into(), "increment".into()));
    for volume in lab.volumes_of(100) {
        assert_eq!(lab.own_snapshots(&volume).len(), 3);
    }
}

#[test]
fn a_move_keeps_what_the_target_has_pruned_or_cannot_prove() {
    let lab = two_labels();
    copied(&lab, &Wanted::default());
    let directory = lab.guest_directories(TO).remove(0);
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = directory.lock(LockMode::Exclusive, &options).unwrap();
    let there = directory.load().unwrap().points;
    directory.hide_point(&lock, &there[4]).unwrap();
    drop(lock);
    let report = copied(&lab, &moving());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(
        report.guests[0].warnings.iter().any(|w| w.contains("does not list it")),
        "{report:#?}"
    );
    let left: Vec<u64> = lab.points(FROM).iter().map(|point| point.manifest.seq).collect();
    assert_eq!(left, [1, 3, 5], "the point and what it needs");

    let lab = two_labels();
    copied(&lab, &Wanted::default());
    let before = content(&lab, FROM);
    let image = lab.points(TO)[2].dir.join("scsi0.increment.rbd.zst");
    flip(&image);
    let report = copied(&lab, &moving());
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    assert!(content(&lab, FROM) == before, "nothing went");
}

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_point_is_not_copied_nor_what_needs_it_and_all_others_are() {
    let lab = two_labels();
    let before = content(&lab, FROM);
    flip(&lab.points(FROM)[2].dir.join("scsi1.increment.rbd.zst"));
    for wanted in [Wanted::default(), moving()] {
        let report = copied(&lab, &wanted);
        assert_eq!(report.exit_code(), 12, "{report:#?}");
        let error = report.guests[0].error.clone().unwrap();
        assert!(
            error.contains("scsi1.increment.rbd.zst") && error.contains("repository"),
            "{error}"
        );
        let seqs: Vec<u64> = lab.points(TO).iter().map(|point| point.manifest.seq).collect();
        assert_eq!(seqs, [1, 2, 4, 6, 8]);
        assert!(content(&lab, FROM) == before);
    }
}

#[test]
fn the_same_repository_twice_or_one_inside_the_other_is_refused() {
    let lab = two_labels();
    let path = lab.repository(FROM);
    let inside = path.join("inside");
    std::fs::create_dir(&inside).unwrap();
    std::os::unix::fs::symlink(&path, path.with_file_name("link")).unwrap();
    let open = |path: &std::path::Path| Repository::open_target(path, Disk::real()).unwrap();
    let ours = open(&path);
    for other in [path.clone(), path.with_file_name("link"), inside] {
        assert!(ours.is_apart_from(&open(&other)).is_err(), "{}", other.display());
        assert!(open(&other).is_apart_from(&ours).is_err(), "{}", other.display());
    }
    assert!(ours.is_apart_from(&open(&lab.repository(TO))).is_ok());
}

#[test]
fn a_dry_run_and_a_locked_guest_change_nothing() {
    let lab = two_labels();
    let dry = performed(&lab, &Wanted { mode: Mode::DryRun, ..moving() }).unwrap();
    let text = dry.plans[0].to_string();
    assert_eq!(text.matches("\n  copy ").count(), 8, "{text}");
    assert_eq!(text.matches("\n  verify in target ").count(), 7, "{text}");
    assert_eq!(text.matches("\n  remove from source ").count(), 8, "{text}");
    assert_eq!(lab.points(TO), []);
    let options = LockOptions { wait: None, what: "test".into() };
    let lock = lab.guest_directories(FROM).remove(0).lock(LockMode::Exclusive, &options).unwrap();
    assert_eq!(copied(&lab, &Wanted::default()).exit_code(), 11);
    assert_eq!(lab.points(TO), []);
    drop(lock);
}

/// Wishes to stop as soon as a number of bytes has been copied.
struct Stopping(Cancel, std::sync::atomic::AtomicU64);

impl Progress for Stopping {
    fn begin(&self, _what: &str, total: u64) -> Arc<dyn Meter> {
        let so_far = self.1.fetch_add(total, std::sync::atomic::Ordering::SeqCst);
        if so_far > 0 {
            self.0.cancel();
        }
        Arc::new(Silent)
    }
    fn note(&self, _line: &str) {}
}

#[test]
fn an_interrupted_copy_goes_on_and_does_not_send_again_what_arrived() {
    let lab = two_labels();
    let (before, truth) = (content(&lab, FROM), Truth::of(&lab));
    let cancel = Cancel::default();
    let progress = Arc::new(Stopping(cancel.clone(), std::sync::atomic::AtomicU64::new(0)));
    let report = copied(&lab, &Wanted { cancel, progress, ..Wanted::default() });
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    assert_eq!(lab.points(TO).len(), 1, "the first point arrived");
    // As if the second point's first image had arrived, and something else had not wholly.
    let (from, to) = (lab.points(FROM)[1].dir.clone(), lab.repository(TO));
    let to = to.join(from.strip_prefix(lab.repository(FROM)).unwrap());
    std::fs::create_dir_all(&to).unwrap();
    for name in ["scsi0.base.rbd.zst", "scsi0.base.rbd.zst.idx"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    for name in ["scsi1.base.rbd.zst", "manifest.json.tmp"] {
        std::fs::write(to.join(name), "half").unwrap();
    }
    let inode = |name: &str| {
        use std::os::unix::fs::MetadataExt as _;
        std::fs::metadata(to.join(name)).unwrap().ino()
    };
    let arrived = inode("scsi0.base.rbd.zst");
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert_eq!(inode("scsi0.base.rbd.zst"), arrived, "it was sent again");
    assert!(content(&lab, TO) == before);
    truth.check(&lab, "gone on");
}

#[test]
fn what_arrived_damaged_is_noticed_and_sent_again_by_the_next_run() {
    let lab = two_labels();
    let (before, truth) = (content(&lab, FROM), Truth::of(&lab));
    let (from, to) = (lab.points(FROM)[0].dir.clone(), lab.repository(TO));
    let to = to.join(from.strip_prefix(lab.repository(FROM)).unwrap());
    std::fs::create_dir_all(&to).unwrap();
    for name in ["scsi0.base.rbd.zst", "scsi0.base.rbd.zst.idx"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    flip(&to.join("scsi0.base.rbd.zst"));
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    assert!(report.guests[0].error.as_ref().unwrap().contains("second"), "{report:#?}");
    let report = copied(&lab, &Wanted::default());
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    assert!(content(&lab, TO) == before);
    truth.check(&lab, "sent again");
}

/// The chain that the next daily backup into a repository will be of.
fn chain(lab: &Lab, repository: &str) -> ChainId {
    let history = lab.guest_directories(repository)[0].load().unwrap();
    history.chain(&"daily".parse().unwrap()).unwrap()
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Source,
    Target,
}

/// A small chain: each write of a copy or move fails in turn, at one of the ends.
fn each_write(end: End, fault: Fault, source: Source) {
    let mut failed = 0;
    for nth in 0.. {
        let lab = Lab::new();
        for round in 2..4 {
            lab.good_backup(&Backup::default());
            lab.write_somewhere(round);
        }
        let (before, truth) = (content(&lab, FROM), Truth::of(&lab));
        let disk = Disk::failing_at(nth, fault);
        let mut wanted = Wanted { source, ..Wanted::default() };
        match end {
            End::Source => wanted.from = disk.clone(),
            End::Target => wanted.to = disk.clone(),
        }
        let context = format!("write {nth}, {fault:?}");
        // A server that is gone from the beginning is an error of the whole run.
        let report = performed(&lab, &wanted).map(|performed| performed.report);
        if disk.writes() <= nth {
            assert_eq!(report.unwrap().exit_code(), 0);
            break;
        }
        failed += usize::from(report.is_ok_and(|r| r.guests[0].status == GuestStatus::Failed));
        truth.check(&lab, &context);
        let there = content(&lab, TO);
        let anywhere =
            |point: &StoredPoint| there.contains(point) || content(&lab, FROM).contains(point);
        assert!(before.iter().all(anywhere), "{context}: a point is nowhere");
        if source == Source::Stays {
            assert!(content(&lab, FROM) == before, "{context}");
        }
        lab.earlier_process_is_dead(FROM);
        lab.earlier_process_is_dead(TO);
        let report = copied(&lab, &Wanted { source, ..Wanted::default() });
        // Nothing is left to be selected where the source was emptied by then.
        assert!([0, 4].contains(&report.exit_code()), "{context}: {report:#?}");
        assert!(content(&lab, TO) == before, "{context}");
        let left = if source == Source::Moves { 0 } else { before.len() };
        assert_eq!(visible(&lab).len(), left, "{context}");
        assert_eq!(visible_in(&lab, TO).len(), before.len(), "{context}");
        truth.check(&lab, &context);
        for directory in lab.guest_directories(TO) {
            assert_eq!(directory.load().unwrap().debris, [], "{context}");
        }
        let made_in = before[0].manifest.chain;
        assert_ne!(chain(&lab, FROM), chain(&lab, TO), "{context}: one chain for two");
        let owner = if source == Source::Moves { TO } else { FROM };
        assert_eq!(chain(&lab, owner), made_in, "{context}");
    }
    let least = if end == End::Target { 25 } else { 5 };
    assert!(failed > least, "{fault:?}: {failed} writes were let fail");
}

#[test]
fn a_full_target_costs_nothing_and_the_next_run_goes_on() {
    each_write(End::Target, Fault::NoSpace, Source::Stays);
    each_write(End::Target, Fault::NoSpace, Source::Moves);
}

#[test]
fn a_target_with_errors_costs_nothing_and_the_next_run_goes_on() {
    each_write(End::Target, Fault::Io, Source::Moves);
    each_write(End::Target, Fault::LostReply, Source::Moves);
}

#[test]
fn a_target_that_vanishes_costs_nothing_and_the_next_run_goes_on() {
    each_write(End::Target, Fault::Vanish, Source::Moves);
    each_write(End::Target, Fault::ReadOnly, Source::Moves);
}

#[test]
fn a_source_that_fails_while_it_is_emptied_loses_nothing() {
    for fault in [Fault::NoSpace, Fault::Io, Fault::Vanish, Fault::LostReply] {
        each_write(End::Source, fault, Source::Moves);
    }
}
