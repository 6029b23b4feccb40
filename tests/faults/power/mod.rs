//! The power goes: every change that an operation makes in a repository is recorded, and after each of
//! them the disk is looked at as it may be found, with what was synced and little else. Whatever is
//! found must be right, and the next run goes on with it. How a disk forgets stands in `crash`.

mod crash;

use crate::common::{Backup, Lab, block_on, read_chain};
use crate::{adopt, copy, merging, prune};
use crash::{Bytes, CrashDisk, Names, Tree};
use pve_ferry::model::{ChainId, DiskKey, PointId, SnapshotName};
use pve_ferry::operation::RepairRequest;
use pve_ferry::report::Report;
use pve_ferry::repository::image::ChainReader;
use pve_ferry::repository::{Disk, FileOperation, GuestDir, Repository, StoredPoint, chain_of};
use pve_ferry::retention::Rules;
use pve_ferry::run::{Mode, run};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is tried after each change: nothing of what was not synced, all of it, and mixtures.
const FATES: [(Names, Bytes); 8] = [
    (Names::None, Bytes::Lost),
    (Names::All, Bytes::Lost),
    (Names::All, Bytes::Zeros),
    (Names::All, Bytes::Half),
    (Names::Last, Bytes::Zeros),
    (Names::AllButFirst, Bytes::There),
    (Names::Some(0x5a5a_a5a5_0ff0_3cc3), Bytes::Zeros),
    (Names::Some(0xc33c_9669_1248_8421), Bytes::Half),
];

/// The bytes that each disk of each point must have.
type Content = BTreeMap<(PointId, DiskKey), Vec<u8>>;

/// A run whose changes of these repositories were recorded.
struct Recorded {
    lab: Lab,
    repositories: Vec<&'static str>,
    content: Content,
    before: CrashDisk,
    /// Points that a user saw before and sees after the run: they are never away.
    stays: BTreeSet<PointId>,
    /// Points that a user sees after the run.
    after: BTreeSet<PointId>,
    /// Those of them whose commit was durable after so many changes.
    committed: Vec<(usize, PointId)>,
    /// Each with the number of calls that the storage had answered before it.
    changes: Vec<(FileOperation, usize)>,
    /// Calls that the storage had answered before and after the run.
    calls: (usize, usize),
}

impl Recorded {
    /// Runs `act` with a disk that records.
    fn run(lab: Lab, repositories: &[&'static str], act: impl FnOnce(&Lab, Disk)) -> Self {
        let paths: Vec<PathBuf> = repositories.iter().map(|name| lab.repository(name)).collect();
        let before = CrashDisk::of(paths[0].parent().unwrap(), repositories);
        Self::run_on(before, (lab, Content::new()), repositories, act)
    }

    /// The process was killed behind the first change that `is_last`, and the machine goes on: what was
    /// not synced stays so. Then `act` runs.
    fn killed_behind(
        self,
        is_last: impl Fn(&[FileOperation]) -> bool,
        act: impl FnOnce(&Lab, Disk),
    ) -> Self {
        let changes: Vec<FileOperation> = self.changes.iter().map(|c| c.0.clone()).collect();
        let is_behind = |done: &usize| is_last(&changes[..*done]);
        let done = (1..=changes.len()).find(is_behind).expect("there is such a change");
        let mut disk = self.before.clone();
        changes[..done].iter().for_each(|change| disk.apply(change));
        self.find(&disk.after(Names::All, Bytes::There));
        Self::run_on(disk, (self.lab, self.content), &self.repositories, act)
    }

    fn run_on(
        before: CrashDisk,
        (lab, mut content): (Lab, Content),
        repositories: &[&'static str],
        act: impl FnOnce(&Lab, Disk),
    ) -> Self {
        learn(&lab, &mut content);
        let seen_before = visible(&lab, repositories);
        let storage = lab.storage.clone();
        let first = storage.calls().len();
        let (disk, recording) = Disk::recorded_beside(move || storage.calls().len());
        act(&lab, disk);
        let calls = (first, lab.storage.calls().len());
        learn(&lab, &mut content);
        let after = visible(&lab, repositories);
        let stays = seen_before.intersection(&after).copied().collect();
        let operations = recording.operations();
        let committed = commits(&lab, repositories, &operations);
        let committed = committed.into_iter().filter(|(_, point)| after.contains(point)).collect();
        let changes: Vec<_> = operations.into_iter().zip(recording.counts()).collect();
        assert!(changes.len() > 5, "hardly anything was recorded: {changes:?}");
        Self {
            lab,
            repositories: repositories.to_vec(),
            content,
            before,
            stays,
            after,
            committed,
            changes,
            calls,
        }
    }

    /// Looks at every disk that may be found, and lets `next` run on it.
    fn survives(&self, next: impl Fn(&Lab)) {
        let (mut disk, mut seen) = (self.before.clone(), HashSet::new());
        for done in 0..=self.changes.len() {
            let following = self.changes.get(done);
            let calls = following.map_or(self.calls.1, |(_, calls)| *calls);
            let committed = self.committed.iter().filter(|(since, _)| *since <= done);
            let mut stays = self.stays.clone();
            stays.extend(committed.map(|(_, point)| *point));
            let stays = if following.is_none() { &self.after } else { &stays };
            for fate in FATES {
                let tree = disk.after(fate.0, fate.1);
                if seen.insert((tree.clone(), calls)) {
                    let last = done.checked_sub(1).map(|last| &self.changes[last].0);
                    let context = format!("power lost after change {done}, {last:.200?}, {fate:?}");
                    self.find(&tree);
                    self.check(calls, stays, &context);
                    next_run(&context, || next(&self.lab));
                    self.assert_whole(&format!("{context}, and the next run"));
                }
            }
            if let Some((change, _)) = following {
                disk.apply(change);
            }
        }
        assert!(seen.len() > 10, "only {} disks were looked at", seen.len());
    }

    /// Looks at every disk that may be found after the last change only: before it, what was done is
    /// not promised yet.
    fn lasts(&self) {
        let mut disk = self.before.clone();
        self.changes.iter().for_each(|(change, _)| disk.apply(change));
        for fate in FATES {
            self.find(&disk.after(fate.0, fate.1));
            self.check(self.calls.1, &self.after, &format!("power lost at the end, {fate:?}"));
        }
    }

    /// The machine starts again, with this disk and no process of before.
    fn find(&self, tree: &Tree) {
        for name in &self.repositories {
            tree.write(&self.lab.repository(name), name);
            self.lab.earlier_process_is_dead(name);
        }
    }

    fn check(&self, calls: usize, stays: &BTreeSet<PointId>, context: &str) {
        self.assert_whole(context);
        let found = visible(&self.lab, &self.repositories);
        let lost: Vec<_> = stays.difference(&found).collect();
        assert!(lost.is_empty(), "{context}: {lost:?} are gone");
        self.assert_a_base_stands(calls, context);
        self.assert_chains_are_known(calls, context);
        self.assert_points_have_copies(context);
    }

    /// What snapshots this run has made, the repository knows the chain of: the next run may delete
    /// them.
    fn assert_chains_are_known(&self, calls: usize, context: &str) {
        let directories =
            self.repositories.iter().flat_map(|name| self.lab.guest_directories(name));
        let records = directories.filter_map(|directory| directory.load().unwrap().record);
        let known: BTreeSet<ChainId> =
            records.flat_map(|record| record.chains.into_values()).collect();
        for call in &self.lab.storage.calls()[self.calls.0..calls] {
            let Some(made) = call.strip_prefix("create-snapshot ") else { continue };
            let name = SnapshotName::parse(made.rsplit('@').next().unwrap()).unwrap();
            assert!(known.contains(&name.chain), "{context}: nobody knows whose {made} is");
        }
    }

    /// Whatever happens to the manifest of a point that stays, it can be put back beside its images.
    fn assert_points_have_copies(&self, context: &str) {
        let directories =
            self.repositories.iter().flat_map(|name| self.lab.guest_directories(name));
        let directories: Vec<GuestDir> = directories.collect();
        for id in visible(&self.lab, &self.repositories).intersection(&self.after) {
            let is_there = directories.iter().any(|directory| has_copy(directory, *id));
            assert!(is_there, "{context}: point {id} has no sealed copy that fits its files");
        }
    }

    /// What has a manifest is bit by bit what the volumes were; nothing is unreadable.
    fn assert_whole(&self, context: &str) {
        for directory in self.repositories.iter().flat_map(|name| self.lab.guest_directories(name))
        {
            let history = directory.load().unwrap();
            assert_eq!(history.unreadable, [], "{context}");
            for point in &history.points {
                for image in &point.manifest.images {
                    let links = chain_of(&history, point, &image.disk)
                        .unwrap_or_else(|e| panic!("{context}: {e:?}"));
                    let chain =
                        ChainReader::open(&links).unwrap_or_else(|e| panic!("{context}: {e}"));
                    let key = (point.manifest.point, image.disk.clone());
                    let Some(expected) = self.content.get(&key) else { continue };
                    let whole = read_chain(&chain) == *expected;
                    assert!(whole, "{context}: {} of {}", image.disk, point.dir.display());
                }
            }
        }
    }

    /// This run has deleted no snapshot that the newest point of a label was made from: the next
    /// run can make an increment.
    fn assert_a_base_stands(&self, calls: usize, context: &str) {
        let all = self.lab.storage.calls();
        let deleted: BTreeSet<&str> = all[self.calls.0..calls]
            .iter()
            .filter_map(|call| call.strip_prefix("delete-snapshot "))
            .collect();
        let points = self.repositories.iter().flat_map(|name| self.lab.points(name));
        let newest: BTreeMap<String, StoredPoint> =
            points.map(|point| (point.manifest.label.to_string(), point)).collect();
        for image in newest.values().flat_map(|point| &point.manifest.images) {
            let name = format!("{}@{}", image.volume, image.source.name);
            assert!(!deleted.contains(name.as_str()), "{context}: {name} is gone");
        }
    }
}

/// Whether a point stands here with a sealed copy that names images that are there.
fn has_copy(directory: &GuestDir, id: PointId) -> bool {
    let copy = directory.path().join("manifests").join(format!("{id}.json"));
    let copy = std::fs::read(copy).unwrap_or_default();
    let Ok(copy) = serde_json::from_slice::<serde_json::Value>(&copy) else { return false };
    let history = directory.load().unwrap();
    let Some(point) = history.point(id) else { return false };
    let is_whole = |image: &serde_json::Value| {
        let facts = point.dir.join(image["file"].as_str().unwrap()).metadata();
        facts.is_ok_and(|facts| Some(facts.len()) == image["stored_bytes"].as_u64())
    };
    copy["images"].as_array().unwrap().iter().all(is_whole)
}

/// After how many of these changes the manifests of points stand durably under their names.
fn commits(
    lab: &Lab,
    repositories: &[&'static str],
    changes: &[FileOperation],
) -> Vec<(usize, PointId)> {
    let points = repositories.iter().flat_map(|name| lab.points(name));
    let commit = |point: StoredPoint| {
        let manifest = point.dir.join("manifest.json");
        let renamed = changes.iter().position(|change| is_rename_to(change, &manifest))?;
        let synced = FileOperation::FsyncDir(point.dir);
        let synced = changes[renamed..].iter().position(|change| *change == synced)?;
        Some((renamed + synced + 1, point.manifest.point))
    };
    points.filter_map(commit).collect()
}

fn is_rename_to(change: &FileOperation, path: &Path) -> bool {
    matches!(change, FileOperation::Rename(_, to) if to == path)
}

/// Runs what comes next; where it panics, that is said of this disk.
fn next_run(context: &str, next: impl FnOnce()) {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(next));
    assert!(ended.is_ok(), "{context}: the next run failed");
}

/// Notes what the points hold that are new.
fn learn(lab: &Lab, content: &mut Content) {
    lab.learn("repository");
    for point in lab.points("repository") {
        for image in &point.manifest.images {
            let key = (point.manifest.point, image.disk.clone());
            let bytes = || lab.expected(&point, image.disk.as_str());
            content.entry(key).or_insert_with(bytes);
        }
    }
}

fn visible(lab: &Lab, repositories: &[&'static str]) -> BTreeSet<PointId> {
    let points = repositories.iter().flat_map(|name| lab.points(name));
    points.filter(|p| !p.manifest.is_hidden()).map(|p| p.manifest.point).collect()
}

fn ends_well(report: &Report) {
    assert_eq!(report.exit_code(), 0, "{report:#?}");
}

/// A backup on what was found ends well and leaves nothing of the run that died.
fn the_next_backup_ends_well(lab: &Lab) {
    ends_well(&lab.backup(&Backup::default()));
    for directory in lab.guest_directories("repository") {
        assert_eq!(directory.load().unwrap().debris, []);
    }
}

/// A base and an increment.
fn two_points() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    lab.good_backup(&Backup::default());
    lab
}

fn backed_up(retention: Rules) -> impl FnOnce(&Lab, Disk) {
    move |lab, disk| {
        lab.good_backup(&Backup { disk, retention, ..Backup::default() });
    }
}

#[test]
fn in_a_first_backup() {
    let recorded = Recorded::run(Lab::new(), &["repository"], backed_up(Rules::default()));
    recorded.survives(the_next_backup_ends_well);
}

#[test]
fn in_an_increment() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.write_somewhere(2);
    let recorded = Recorded::run(lab, &["repository"], backed_up(Rules::default()));
    recorded.survives(the_next_backup_ends_well);
}

#[test]
fn in_a_backup_that_merges_what_it_keeps_no_longer() {
    let rules = merging::keep(1, None);
    let recorded = Recorded::run(merging::five_points(), &["repository"], backed_up(rules));
    recorded.survives(the_next_backup_ends_well);
}

#[test]
fn in_a_prune_that_hides_and_removes() {
    let recorded = Recorded::run(prune::two_chains(), &["repository"], |lab, disk| {
        ends_well(&prune::pruned(lab, prune::retain(2), disk, Mode::Execute).report);
    });
    recorded.survives(the_next_backup_ends_well);
}

#[test]
fn in_a_prune_that_folds_increments_into_their_base() {
    let recorded = Recorded::run(merging::five_points(), &["repository"], |lab, disk| {
        let rules = merging::keep(1, Some("1%"));
        ends_well(&prune::pruned(lab, rules, disk, Mode::Execute).report);
    });
    recorded.survives(the_next_backup_ends_well);
}

/// The manifest of the merge that died was not durable yet: nothing of what the old one names may go.
#[test]
fn in_a_backup_that_sweeps_what_a_killed_merge_left() {
    let merged = Recorded::run(merging::five_points(), &["repository"], |lab, disk| {
        ends_well(&prune::pruned(lab, merging::keep(1, Some("1%")), disk, Mode::Execute).report);
    });
    let recorded = merged.killed_behind(has_merged, backed_up(Rules::default()));
    recorded.survives(the_next_backup_ends_well);
}

/// Whether the last of these changes gave a manifest its name beside images that were made before.
fn has_merged(changes: &[FileOperation]) -> bool {
    let Some((FileOperation::Rename(_, to), before)) = changes.split_last() else { return false };
    let is_image = |change: &FileOperation| {
        matches!(change, FileOperation::Create(_, path)
            if path.parent() == to.parent() && path.extension().is_some_and(|end| end == "idx"))
    };
    to.ends_with("manifest.json") && before.iter().any(is_image)
}

/// The name of the directory that the killed copy made was not durable yet.
#[test]
fn in_a_copy_that_goes_on_with_what_a_killed_one_left() {
    let all = |lab: &Lab, disk: Disk| {
        let wanted = copy::Wanted { to: disk, ..copy::Wanted::default() };
        ends_well(&copy::copied(lab, &wanted));
    };
    let has_begun = |changes: &[FileOperation]| match changes.last() {
        Some(FileOperation::CreateDir(path)) => is_point(path),
        _ => false,
    };
    let recorded = Recorded::run(two_points(), &["second"], all).killed_behind(has_begun, all);
    recorded.survives(|lab| {
        ends_well(&copy::copied(lab, &copy::Wanted::default()));
    });
}

fn is_point(path: &Path) -> bool {
    path.parent().is_some_and(|label| label.ends_with("daily"))
}

#[test]
fn in_a_copy() {
    let recorded = Recorded::run(two_points(), &["second"], |lab, disk| {
        let wanted = copy::Wanted { to: disk, ..copy::Wanted::default() };
        ends_well(&copy::copied(lab, &wanted));
    });
    recorded.survives(|lab| {
        ends_well(&copy::copied(lab, &copy::Wanted::default()));
    });
}

#[test]
fn in_a_move_of_which_no_point_is_ever_in_neither_repository() {
    let recorded = Recorded::run(two_points(), &["repository", "second"], |lab, disk| {
        let wanted = copy::Wanted { from: disk.clone(), to: disk, ..copy::moving() };
        ends_well(&copy::copied(lab, &wanted));
    });
    recorded.survives(|lab| {
        let report = copy::copied(lab, &copy::moving());
        // Where everything had been moved, there is nothing to move any more.
        let is_over = report.guests.is_empty() && report.exit_code() == 4;
        assert!(is_over || report.exit_code() == 0, "{report:#?}");
    });
}

#[test]
fn behind_a_repair_whose_manifest_is_put_back_for_good() {
    let lab = two_points();
    lab.learn("repository");
    let newest = lab.points("repository").pop().unwrap();
    std::fs::remove_file(newest.dir.join("manifest.json")).unwrap();
    let recorded = Recorded::run(lab, &["repository"], |lab, disk| {
        let request = RepairRequest {
            selection: None,
            label: None,
            repository: Repository::open(&lab.repository("repository"), disk).unwrap(),
        };
        let repaired = block_on(run(Arc::new(lab.without_cluster()), request, Mode::Execute));
        ends_well(&repaired.unwrap().report);
    });
    assert!(recorded.after.contains(&newest.manifest.point), "it was put back");
    recorded.lasts();
}

#[test]
fn in_an_adoption() {
    let recorded = Recorded::run(adopt::saved_by_barc(), &["repository"], |lab, disk| {
        let wanted = adopt::Wanted { disk, ..adopt::Wanted::default() };
        ends_well(&adopt::perform_adopt(lab, &wanted).unwrap().report);
    });
    recorded.survives(the_next_backup_ends_well);
}
