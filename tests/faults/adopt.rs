//! Going on with what eve4pve-barc saved: the adopted point and the increments on it are bit by bit
//! what the volumes were, nothing of the old tool's changes, and what is not proven is not adopted.

use crate::common::{Backup, FOREIGN, Lab, Restore, VMID, block_on};
use proptest::collection::vec;
use proptest::prelude::*;
use pve_ferry::model::SnapshotIdentity;
use pve_ferry::operation::AdoptRequest;
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::{Consistency, Disk, Fault as DiskFault, Repository};
use pve_ferry::run::{Mode, Performed, run};
use pve_ferry::select::Selection;
use pve_ferry::storage::memory::{Fault, Operation as Call};
use pve_ferry::survey::Home;
use sha1::{Digest as _, Sha1};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FIRST: &str = "20200101120000";
const SECOND: &str = "20200102120000";

fn directory(lab: &Lab) -> PathBuf {
    lab.repository("old").join(format!("barc/{VMID}/daily"))
}

fn snapshot(lab: &Lab, volume: &str, stamp: &str) -> Option<SnapshotIdentity> {
    let facts = block_on(lab.driver().volume(volume)).unwrap().unwrap();
    facts.snapshot(&format!("barcdaily{stamp}")).map(|snapshot| snapshot.identity.clone())
}

/// What a run of the old tool does: snapshots, a raw full or an increment of each disk with its
/// checksum, the configuration; then the older snapshots go.
fn barc_run(lab: &Lab, stamp: &str, before: Option<&str>) {
    barc_run_with(lab, stamp, before, &lab.config(VMID));
}

fn barc_run_with(lab: &Lab, stamp: &str, before: Option<&str>, config: &str) {
    let directory = directory(lab);
    fs::create_dir_all(&directory).unwrap();
    for volume in lab.volumes_of(VMID) {
        lab.make_snapshot(&volume, &format!("barcdaily{stamp}"));
        let own = snapshot(lab, &volume, stamp).unwrap();
        let since = before.map(|stamp| snapshot(lab, &volume, stamp).unwrap());
        let (ending, bytes) = match &since {
            None => ("img", lab.storage.read_snapshot(&volume, &own.name).unwrap()),
            Some(since) => {
                let mut bytes = Vec::new();
                let facts = block_on(lab.driver().volume(&volume)).unwrap().unwrap();
                let export = block_on(lab.driver().export(&facts, &own, Some(since))).unwrap();
                { export.reader }.read_to_end(&mut bytes).unwrap();
                ("diff", bytes)
            }
        };
        let mut sum = String::new();
        Sha1::digest(&bytes).iter().for_each(|byte| write!(sum, "{byte:02x}").unwrap());
        let file = directory.join(format!("{stamp}rbd.{volume}.{ending}"));
        fs::write(&file, bytes).unwrap();
        fs::write(format!("{}.sha1", file.display()), format!("{sum}  -\n")).unwrap();
        if let Some(since) = since {
            block_on(lab.driver().delete_snapshot(&volume, &since)).unwrap();
        }
    }
    fs::write(directory.join(format!("{stamp}.conf")), config).unwrap();
    fs::write(directory.join(format!("{stamp}.fw")), "[OPTIONS]\n\nenable: 0\n").unwrap();
}

/// Two runs of the old tool with writes, discards and a resize between them.
pub fn saved_by_barc() -> Lab {
    let lab = Lab::new();
    barc_run(&lab, FIRST, None);
    lab.write_somewhere(31);
    lab.storage.resize("vm-100-disk-0", 131_072).unwrap();
    lab.storage.write("vm-100-disk-0", 120_000, &[9; 10_000]).unwrap();
    barc_run(&lab, SECOND, Some(FIRST));
    lab
}

#[derive(Clone)]
pub struct Wanted {
    pub label: &'static str,
    pub disk: Disk,
    pub mode: Mode,
}

impl Default for Wanted {
    fn default() -> Self {
        Self { label: "daily", disk: Disk::real(), mode: Mode::Execute }
    }
}

pub fn perform_adopt(lab: &Lab, wanted: &Wanted) -> anyhow::Result<Performed> {
    lab.clock.advance(60);
    *lab.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
    let operation = AdoptRequest {
        selection: Selection::parse("100").unwrap(),
        path: lab.repository("old"),
        old_label: "daily".to_owned(),
        label: wanted.label.parse().unwrap(),
        repository: Repository::open_target(&lab.repository("repository"), wanted.disk.clone())?,
        home: Home::default(),
    };
    block_on(run(lab.ctx(), operation, wanted.mode))
}

fn adopt(lab: &Lab) -> Report {
    perform_adopt(lab, &Wanted::default()).unwrap().report
}

/// All that is the old tool's: its files and its snapshots, with their numbers.
fn of_barc(lab: &Lab) -> Vec<String> {
    let entries = fs::read_dir(directory(lab)).unwrap().map(|entry| entry.unwrap().path());
    let mut all: Vec<String> =
        entries.map(|path| format!("{path:?} {:?}", fs::read(&path).unwrap())).collect();
    all.sort();
    for volume in lab.volumes_of(VMID) {
        all.push(format!("{volume} {:?}", snapshot(lab, &volume, SECOND)));
    }
    all
}

fn kinds(lab: &Lab) -> Vec<String> {
    let outcome = lab.good_backup(&Backup::default());
    outcome.volumes.into_iter().map(|volume| volume.kind).collect()
}

fn assert_restores(lab: &Lab, number: u32, time: Option<&str>, disks: &[Vec<u8>]) {
    let mut wanted = Restore::to(number);
    wanted.sought.time = time.map(|time| time.parse().unwrap());
    let report = lab.restore(&wanted).unwrap();
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    for (disk, content) in disks.iter().enumerate() {
        let restored = lab.storage.read(&format!("vm-{number}-disk-{disk}")).unwrap();
        assert!(restored == *content, "disk {disk} of {number}");
    }
}

fn disks(lab: &Lab) -> [Vec<u8>; 2] {
    [0, 1].map(|disk| lab.storage.read(&format!("vm-100-disk-{disk}")).unwrap())
}

#[test]
fn an_increment_goes_on_with_barcs_chain_and_nothing_of_it_changes() {
    let lab = saved_by_barc();
    let (then, before) = (disks(&lab), of_barc(&lab));
    lab.write_somewhere(40);
    lab.edit_config(VMID, "agent: 1", "agent: 1\nmemory: 4096");
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 0, "{report:#?}");
    let outcome = &report.guests[0];
    assert_eq!(outcome.volumes.len(), 2, "{outcome:#?}");
    assert!(outcome.kept[0].contains(&format!("barcdaily{SECOND}")), "{outcome:#?}");
    let [point] = &lab.points("repository")[..] else { panic!("one point") };
    assert_eq!(point.manifest.time.to_string(), "2020-01-02T12:00:00Z");
    assert_eq!(
        point.manifest.consistency,
        Consistency::Crash,
        "nobody knows whether it was frozen"
    );
    assert_eq!(point.manifest.other["adopted"], format!("barc/100/daily/{SECOND}"));
    assert_eq!(lab.own_snapshots("vm-100-disk-0"), [""; 0], "no snapshot is made for it");

    let now = disks(&lab);
    assert_eq!(kinds(&lab), ["increment"; 2]);
    lab.write_somewhere(50);
    let last = disks(&lab);
    assert_eq!(kinds(&lab), ["increment"; 2]);
    assert_eq!(before, of_barc(&lab), "nothing of the old tool's is changed");
    lab.assert_tidy(1, "adopted");
    lab.assert_foreign_snapshots_stay("adopted");

    let points = lab.points("repository");
    assert_restores(&lab, 901, Some("2020-01-02T12:00:00Z"), &then);
    assert!(!lab.config(901).contains("memory"), "the configuration is that of then");
    let firewall = fs::read_to_string(lab.etc().join("firewall/901.fw")).unwrap();
    assert!(firewall.contains("enable: 0"), "{firewall}");
    assert_restores(&lab, 902, Some(&points[1].manifest.time.to_string()), &now);
    assert!(lab.config(902).contains("memory"));
    assert_restores(&lab, 903, None, &last);
}

#[test]
fn what_is_adopted_needs_none_of_barcs_files_and_is_adopted_once() {
    let lab = saved_by_barc();
    let then = disks(&lab);
    assert_eq!(adopt(&lab).exit_code(), 0);
    lab.learn("repository");
    let again = adopt(&lab);
    assert_eq!((again.exit_code(), again.guests[0].status), (0, GuestStatus::Skipped));
    assert!(again.guests[0].error.as_ref().unwrap().contains("already"), "{again:#?}");
    fs::remove_dir_all(directory(&lab)).unwrap();
    lab.write_somewhere(40);
    assert_eq!(kinds(&lab), ["increment"; 2]);
    lab.assert_points_are_whole("without the old files");
    assert_restores(&lab, 901, Some("2020-01-02T12:00:00Z"), &then);
}

#[test]
fn a_dry_run_prints_the_plan_and_changes_nothing() {
    let lab = saved_by_barc();
    let before = of_barc(&lab);
    let performed = perform_adopt(&lab, &Wanted { mode: Mode::DryRun, ..Wanted::default() });
    let text = performed.unwrap().plans[0].to_string();
    assert_eq!(text.matches("\n  adopt ").count(), 2, "{text}");
    assert_eq!(before, of_barc(&lab));
    assert_eq!(fs::read_dir(lab.repository("repository")).unwrap().count(), 0);
}

/// The disk was made again and somebody gave its snapshot the name that the files are of.
#[test]
fn a_snapshot_of_the_right_name_with_another_content_is_no_base() {
    let lab = saved_by_barc();
    let own = snapshot(&lab, "vm-100-disk-1", SECOND).unwrap();
    block_on(lab.driver().delete_snapshot("vm-100-disk-1", &own)).unwrap();
    lab.storage.write("vm-100-disk-1", 65_535, &[0xee]).unwrap();
    lab.make_snapshot("vm-100-disk-1", &own.name);
    let before = of_barc(&lab);
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    let error = report.guests[0].error.as_ref().unwrap();
    assert!(error.contains("vm-100-disk-1@barcdaily") && error.contains("Nothing was"), "{error}");
    assert_eq!(lab.points("repository").len(), 0, "half a guest is not adopted");
    assert_eq!(before, of_barc(&lab));
    assert_eq!(kinds(&lab), ["base"; 2]);
    lab.assert_points_are_whole("after the refusal");
    lab.assert_tidy(1, "after the refusal");
}

/// The old tool has merged wrongly, and has written the sum of what it wrote.
#[test]
fn files_with_right_sums_and_wrong_content_are_not_adopted() {
    let lab = saved_by_barc();
    let full = directory(&lab).join(format!("{FIRST}rbd.vm-100-disk-0.img"));
    let mut bytes = fs::read(&full).unwrap();
    // Where no increment writes.
    bytes[90_000] ^= 1;
    let mut sum = String::new();
    Sha1::digest(&bytes).iter().for_each(|byte| write!(sum, "{byte:02x}").unwrap());
    fs::write(&full, bytes).unwrap();
    fs::write(format!("{}.sha1", full.display()), sum + "  -\n").unwrap();
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 12, "{report:#?}");
    assert!(report.guests[0].error.as_ref().unwrap().contains("content"), "{report:#?}");
    assert_eq!(lab.points("repository").len(), 0);
}

#[test]
fn a_damaged_file_is_told_and_nothing_is_adopted() {
    for (file, spoil) in [(FIRST, "img"), (SECOND, "diff")] {
        let lab = saved_by_barc();
        let file = directory(&lab).join(format!("{file}rbd.vm-100-disk-1.{spoil}"));
        let mut bytes = fs::read(&file).unwrap();
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        fs::write(&file, bytes).unwrap();
        let report = adopt(&lab);
        assert_eq!(report.exit_code(), 12, "{report:#?}");
        assert!(report.guests[0].error.as_ref().unwrap().contains("vm-100-disk-1"), "{report:#?}");
        assert_eq!(lab.points("repository").len(), 0);
        assert_eq!(kinds(&lab), ["base"; 2]);
    }
}

#[test]
fn a_disk_whose_snapshot_is_gone_is_named_and_gets_a_base() {
    let lab = saved_by_barc();
    lab.storage.remove_snapshot("vm-100-disk-1", &format!("barcdaily{SECOND}")).unwrap();
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 3, "{report:#?}");
    let skipped = &report.guests[0].skipped[0];
    assert!(skipped.disk == "scsi1" && skipped.reason.contains("gone"), "{skipped:?}");
    lab.learn("repository");
    lab.write_somewhere(40);
    assert_eq!(kinds(&lab), ["increment", "base"]);
    lab.assert_points_are_whole("one of two disks");
}

#[test]
fn an_older_point_is_adopted_when_only_its_snapshots_are_left() {
    let lab = Lab::new();
    barc_run(&lab, FIRST, None);
    let then = disks(&lab);
    lab.write_somewhere(31);
    // The run after it made its files, and its snapshots are gone.
    let newer = directory(&lab).join(format!("{SECOND}rbd.vm-100-disk-0.img"));
    fs::write(newer, lab.storage.read("vm-100-disk-0").unwrap()).unwrap();
    fs::write(directory(&lab).join(format!("{SECOND}.conf")), lab.config(VMID)).unwrap();
    assert_eq!(adopt(&lab).exit_code(), 0);
    assert_eq!(kinds(&lab), ["increment"; 2]);
    assert_restores(&lab, 901, Some("2020-01-01T12:00:00Z"), &then);
}

#[test]
fn without_a_snapshot_or_a_file_there_is_nothing_to_go_on_with() {
    let lab = saved_by_barc();
    for volume in lab.volumes_of(VMID) {
        lab.storage.remove_snapshot(&volume, &format!("barcdaily{SECOND}")).unwrap();
    }
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    assert!(report.guests[0].error.as_ref().unwrap().contains("makes a base"), "{report:#?}");
    fs::remove_dir_all(directory(&lab)).unwrap();
    let report = adopt(&lab);
    assert!(report.guests[0].error.as_ref().unwrap().contains("no restore point"), "{report:#?}");
    assert_eq!(kinds(&lab), ["base"; 2]);
}

#[test]
fn a_label_with_a_chain_of_its_own_is_refused_and_another_one_is_not() {
    let lab = saved_by_barc();
    lab.good_backup(&Backup::default());
    let report = adopt(&lab);
    assert_eq!(report.exit_code(), 13, "{report:#?}");
    assert!(report.guests[0].error.as_ref().unwrap().contains("--as"), "{report:#?}");
    let other = Wanted { label: "barc", ..Wanted::default() };
    assert_eq!(perform_adopt(&lab, &other).unwrap().report.exit_code(), 0);
    lab.learn("repository");
    lab.write_somewhere(40);
    let outcome = lab.good_backup(&Backup { label: "barc", ..Backup::default() });
    assert!(outcome.volumes.iter().all(|volume| volume.kind == "increment"), "{outcome:#?}");
    assert_eq!(kinds(&lab), ["increment"; 2]);
    lab.assert_points_are_whole("two labels");
    lab.assert_tidy(2, "two labels");
}

/// After whatever went wrong: nothing of others changed, no half point, and both the next adoption and
/// the backup after it end well.
fn converges(lab: &Lab, before: &[String], report: &Report, context: &str) {
    let [outcome] = &report.guests[..] else { panic!("{context}: {report:#?}") };
    assert_eq!(before, of_barc(lab), "{context}");
    lab.learn("repository");
    lab.assert_points_are_whole(context);
    let points = lab.points("repository").len();
    let unknown = outcome.error.as_deref().is_some_and(|error| error.contains("not known"));
    let is_made = outcome.status == GuestStatus::Ok || unknown;
    assert!(points == usize::from(is_made) || unknown, "{context}: {points}: {outcome:#?}");
    lab.earlier_process_is_dead("repository");
    let again = adopt(lab);
    assert_eq!(again.exit_code(), 0, "{context}: {again:#?}");
    lab.learn("repository");
    assert_eq!(lab.points("repository").len(), 1, "{context}");
    lab.write_somewhere(40);
    assert_eq!(kinds(lab), ["increment"; 2], "{context}");
    lab.assert_points_are_whole(context);
    lab.assert_tidy(1, context);
    lab.assert_foreign_snapshots_stay(context);
    assert_eq!(before, of_barc(lab), "{context}");
    assert_eq!(FOREIGN.len(), 4);
}

#[test]
fn every_call_of_the_storage_that_fails_leaves_no_half_point() {
    let mut cases = 0;
    for (call, fault) in [
        (Call::Volume, Fault::Before),
        (Call::Export, Fault::Before),
        (Call::Export, Fault::After),
        (Call::Export, Fault::Cut(40)),
        (Call::Export, Fault::SilentCut(40)),
    ] {
        for nth in 1.. {
            let lab = saved_by_barc();
            let before = of_barc(&lab);
            let word = format!("{call} ");
            let count = || lab.storage.calls().iter().filter(|c| c.starts_with(&word)).count();
            let called = count();
            lab.storage.inject(call, nth, fault);
            let report = adopt(&lab);
            if count() < called + nth {
                break;
            }
            let context = format!("{call} {nth} {fault:?}");
            assert_ne!(report.exit_code(), 0, "{context}: {report:#?}");
            converges(&lab, &before, &report, &context);
            cases += 1;
        }
    }
    assert!(cases >= 12, "{cases}");
}

#[test]
fn every_write_that_fails_leaves_no_half_point() {
    for fault in [DiskFault::NoSpace, DiskFault::Vanish, DiskFault::LostReply] {
        let mut failed = 0;
        for nth in 0.. {
            let lab = saved_by_barc();
            let before = of_barc(&lab);
            let disk = Disk::failing_at(nth, fault);
            let wanted = Wanted { disk: disk.clone(), ..Wanted::default() };
            let report = perform_adopt(&lab, &wanted).unwrap().report;
            if disk.writes() <= nth {
                break;
            }
            failed += usize::from(report.exit_code() != 0);
            converges(&lab, &before, &report, &format!("write {nth} {fault:?}"));
        }
        assert!(failed > 20, "{fault:?}: {failed}");
    }
}

#[test]
fn a_wish_to_stop_at_any_step_ends_cleanly() {
    let mut interrupted = 0;
    for nth in 0.. {
        let lab = saved_by_barc();
        let before = of_barc(&lab);
        let (seen, wish) = (Arc::new(AtomicUsize::new(0)), lab.wish());
        let counter = seen.clone();
        lab.events.watch(move |_| {
            if counter.fetch_add(1, Ordering::SeqCst) == nth {
                wish();
            }
        });
        let report = adopt(&lab);
        lab.events.unwatch();
        if seen.load(Ordering::SeqCst) <= nth {
            break;
        }
        let context = format!("stopped at event {nth}");
        assert!([0, 130].contains(&report.exit_code()), "{context}: {report:#?}");
        interrupted += usize::from(report.exit_code() == 130);
        converges(&lab, &before, &report, &context);
    }
    assert!(interrupted >= 4, "{interrupted}");
}

/// What a guest does between two runs of the old tool.
#[derive(Debug, Clone)]
enum Does {
    Write(u64, u64, u8),
    Discard(u64, u64),
    Resize(u64),
}

fn does() -> impl Strategy<Value = Does> {
    let place = || prop_oneof![(0..40_u64).prop_map(|n| n * 4096), 0..160_000_u64];
    prop_oneof![
        3 => (place(), 1..70_000_u64, any::<u8>()).prop_map(|(at, n, b)| Does::Write(at, n, b)),
        2 => (place(), 1..100_000_u64).prop_map(|(at, n)| Does::Discard(at, n)),
        1 => place().prop_map(|size| Does::Resize(size + 512)),
    ]
}

fn act(lab: &Lab, what: &Does) {
    let name = "vm-100-disk-0";
    let size_before = lab.storage.read(name).unwrap().len() as u64;
    let clipped = |at: u64, length: u64| length.min(size_before.saturating_sub(at));
    match *what {
        Does::Write(at, length, byte) if clipped(at, length) > 0 => {
            let bytes = vec![byte; usize::try_from(clipped(at, length)).unwrap()];
            lab.storage.write(name, at, &bytes).unwrap();
        }
        Does::Discard(at, length) if clipped(at, length) > 0 => {
            lab.storage.discard(name, at, clipped(at, length)).unwrap();
        }
        Does::Resize(new) => {
            lab.storage.resize(name, new).unwrap();
            // PVE notes it in the configuration.
            let size = |bytes: u64| format!("size={}K", bytes / 1024);
            lab.edit_config(VMID, &size(size_before), &size(new));
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn whatever_the_guest_did_between_the_runs_the_point_is_right(
        runs in vec(vec(does(), 0..5), 1..5),
        afterwards in vec(does(), 0..5),
    ) {
        let lab = Lab::empty();
        lab.add_guest(VMID, &[98_304]);
        let stamp = |run: usize| format!("2020010{}120000", run + 1);
        for (run, happens) in runs.iter().enumerate() {
            happens.iter().for_each(|what| act(&lab, what));
            let before = run.checked_sub(1).map(stamp);
            barc_run(&lab, &stamp(run), before.as_deref());
        }
        let report = adopt(&lab);
        prop_assert_eq!(report.exit_code(), 0, "{:#?}", report);
        lab.learn("repository");
        afterwards.iter().for_each(|what| act(&lab, what));
        prop_assert_eq!(kinds(&lab), ["increment"]);
        lab.assert_points_are_whole("after any writes");
    }
}

/// A container is told from others by its root volume, and its point is restored as one.
#[test]
fn a_container_is_gone_on_with() {
    let lab = Lab::empty();
    lab.storage.add_volume("vm-100-disk-0", 65_536).unwrap();
    lab.storage.write("vm-100-disk-0", 5000, &[5; 9000]).unwrap();
    let config = "arch: amd64\nhostname: ct\nmemory: 512\nrootfs: ceph:vm-100-disk-0,size=64K\n";
    fs::write(lab.etc().join("nodes/pve1/lxc/100.conf"), config).unwrap();
    barc_run_with(&lab, FIRST, None, config);
    let then = lab.storage.read("vm-100-disk-0").unwrap();
    assert_eq!(adopt(&lab).exit_code(), 0);
    lab.storage.write("vm-100-disk-0", 6000, &[6; 900]).unwrap();
    assert_eq!(kinds(&lab), ["increment"]);
    let mut wanted = Restore::to(901);
    wanted.sought.time = Some("2020-01-01T12:00:00Z".parse().unwrap());
    assert_eq!(lab.restore(&wanted).unwrap().exit_code(), 0);
    assert!(lab.storage.read("vm-901-disk-0").unwrap() == then);
    let restored = fs::read_to_string(lab.etc().join("nodes/pve1/lxc/901.conf")).unwrap();
    assert!(restored.contains("rootfs: ceph:vm-901-disk-0"), "{restored}");
}
