//! Copying one point: what arrives is proven before it counts, and the end at which something went
//! wrong is the one that is named. Copies of whole repositories are tested in `faults`.

use crate::example;
use pve_ferry::model::ChainId;
use pve_ferry::repository::*;
use pve_ferry::stall::Pulse;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

/// The example, and a directory of the same guest elsewhere without points.
struct Ends {
    from: tempfile::TempDir,
    to: tempfile::TempDir,
}

impl Ends {
    fn new() -> Self {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        example::build(from.path());
        Self { from, to }
    }

    fn source(&self) -> GuestDir {
        example::guest(self.from.path())
    }

    fn target(&self) -> GuestDir {
        example::guest(self.to.path())
    }

    fn target_on(&self, disk: Disk) -> GuestDir {
        Repository::open_target(self.to.path(), disk).unwrap().guest(&example::key())
    }

    /// The base, as the source has it.
    fn base(&self) -> StoredPoint {
        self.source().load().unwrap().points.remove(0)
    }

    /// Copies the base to a target on that disk.
    fn copied(&self, disk: Disk) -> Result<Committed, RepositoryError> {
        let lock = example::exclusive(&self.target());
        self.begin_chain(&lock)?;
        let target = self.target_on(disk);
        target.copy_point(&lock, &self.source(), &self.base(), &mut copying(&|_| {}, &|| Ok(())))
    }

    /// What a plan does before the first copy of a label.
    fn begin_chain(&self, lock: &Lock) -> Result<(), RepositoryError> {
        let label = self.base().manifest.label;
        self.target().begin_chain_beside(lock, &self.source(), &label, ChainId(7))
    }

    fn assert_nothing_arrived(&self) {
        assert_eq!(self.target().load().unwrap().points, []);
    }
}

fn copying<'a>(
    progress: &'a (dyn Fn(u64) + Sync),
    go_on: &'a (dyn Fn() -> io::Result<()> + Sync),
) -> Copying<'a> {
    static PULSE: LazyLock<Pulse> = LazyLock::new(Pulse::default);
    Copying { threads: 1, progress, go_on, pulse: &PULSE, proven: BTreeSet::new() }
}

/// What is as long and something else.
fn change(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn damaged(result: Result<Committed, RepositoryError>) -> PathBuf {
    match result {
        Err(RepositoryError::Damaged { path, .. }) => path,
        other => panic!("{other:?}"),
    }
}

/// Whoever has slept over the end of a lock makes no point beside another run.
#[test]
fn a_copy_whose_lock_is_lost_on_the_way_is_no_point() {
    let ends = Ends::new();
    let target = ends.target();
    let lock = example::exclusive(&target);
    ends.begin_chain(&lock).unwrap();
    let lose = |_: u64| example::lose_locks(&target);
    let mut copying = copying(&lose, &|| Ok(()));
    let result = target.copy_point(&lock, &ends.source(), &ends.base(), &mut copying);
    assert!(matches!(result, Err(RepositoryError::LockLost { .. })), "{result:?}");
    ends.assert_nothing_arrived();
    drop(lock);
    ends.copied(Disk::real()).unwrap();
}

#[test]
fn a_text_that_is_not_what_was_saved_is_not_copied() {
    for name in ["guest.conf", "guest.fw"] {
        let ends = Ends::new();
        let text = ends.base().dir.join(name);
        let whole = fs::read(&text).unwrap();
        change(&text);
        assert!(damaged(ends.copied(Disk::real())).ends_with(name));
        ends.assert_nothing_arrived();
        fs::write(&text, whole).unwrap();
        ends.copied(Disk::real()).unwrap();
    }
}

#[test]
fn a_text_that_arrives_as_another_one_is_noticed_before_the_point_counts() {
    for name in ["guest.conf", "guest.fw"] {
        let ends = Ends::new();
        let last = Mutex::new(PathBuf::new());
        // Its bytes are written when it is made durable: another writer comes in between.
        let disk = Disk::watched(move |step| match step {
            FileOperation::Create(_, path) => *last.lock().unwrap() = path.clone(),
            FileOperation::Fsync(_) if last.lock().unwrap().ends_with(name) => {
                change(&last.lock().unwrap());
            }
            _ => {}
        });
        let path = damaged(ends.copied(disk));
        assert!(path.ends_with(name) && path.starts_with(ends.target().path()), "{path:?}");
        ends.assert_nothing_arrived();
        ends.copied(Disk::real()).unwrap();
    }
}

/// It is what a point of the source goes for.
#[test]
fn a_point_whose_texts_have_changed_in_the_target_is_not_proven() {
    for name in ["guest.conf", "guest.fw"] {
        let ends = Ends::new();
        let point = ends.copied(Disk::real()).unwrap().point;
        let (nobody, go_on) = (|_: u64| {}, || Ok(()));
        let mut copying = copying(&nobody, &go_on);
        ends.target().prove_point(&point, &mut copying).unwrap();
        change(&point.dir.join(name));
        let result = ends.target().prove_point(&point, &mut copying);
        assert!(matches!(result, Err(RepositoryError::Damaged { .. })), "{result:?}");
    }
}

/// As over a network where the end of a file comes early, once: the target has done no wrong.
#[test]
fn a_source_that_ends_early_is_named_and_not_the_target() {
    let ends = Ends::new();
    let base = ends.base();
    let image = base.dir.join(&base.manifest.images[0].file);
    let whole = fs::read(&image).unwrap();
    let asked = AtomicUsize::new(0);
    // Asked before each piece is read: the first is all that there is then, the third is of the next
    // file.
    let go_on = || match asked.fetch_add(1, Ordering::SeqCst) {
        0 => fs::write(&image, &whole[..whole.len() - 1]),
        2 => fs::write(&image, &whole),
        _ => Ok(()),
    };
    let target = ends.target();
    let lock = example::exclusive(&target);
    ends.begin_chain(&lock).unwrap();
    let nobody = |_: u64| {};
    let result = target.copy_point(&lock, &ends.source(), &base, &mut copying(&nobody, &go_on));
    assert_eq!(damaged(result), image);
    ends.assert_nothing_arrived();
    drop(lock);
    fs::write(&image, &whole).unwrap();
    ends.copied(Disk::real()).unwrap();
}

/// Somebody has removed the copy, and it is sent once more in the same run.
#[test]
fn what_is_sent_again_is_read_again_whatever_was_proven_before() {
    let ends = Ends::new();
    let target = ends.target();
    let lock = example::exclusive(&target);
    ends.begin_chain(&lock).unwrap();
    let (nobody, go_on) = (|_: u64| {}, || Ok(()));
    let mut copying = copying(&nobody, &go_on);
    let (source, base) = (ends.source(), ends.base());
    let arrived = target.copy_point(&lock, &source, &base, &mut copying).unwrap().point;
    target.delete_point(&lock, &arrived).unwrap();
    let image = base.dir.join(&base.manifest.images[0].file);
    change(&image);
    assert_eq!(damaged(target.copy_point(&lock, &source, &base, &mut copying)), image);
    ends.assert_nothing_arrived();
}

/// A medium that has lost what was written is found out only where the kernel's memory is not asked.
#[test]
fn what_a_copy_reads_back_comes_from_the_medium() {
    let ends = Ends::new();
    let (disk, recording) = Disk::recorded();
    let point = ends.copied(disk).unwrap().point;
    let names = point.manifest.images.iter().map(|image| image.file.to_string());
    example::assert_read_from_the_medium(&recording.operations(), &names.collect::<Vec<_>>());
}
