//! Storages and repositories that do not answer: every wait hears a wish to stop, a stream that stands
//! still is given up and named, and one that failed stops those beside it.

use crate::common::{Backup, Lab, Restore, block_on};
use crate::copy;
use crate::situation::{Situation, converges};
use pve_ferry::cancel::Cancel;
use pve_ferry::clock::Stopwatch;
use pve_ferry::context::Context;
use pve_ferry::execute::DiskAudit;
use pve_ferry::operation::{AssembleRequest, AuditRequest, Meant, Operation, RestoreRequest};
use pve_ferry::progress::{Meter, Progress};
use pve_ferry::report::{Failure, GuestStatus, Report};
use pve_ferry::run::{Mode, Performed, run};
use pve_ferry::storage::memory::{self, Fault};
use std::sync::Arc;
use std::time::Duration;

/// On a clock that jumps: a second after the start the user wishes to stop. How long the run took.
fn stopped_after_a_second(lab: &Lab, operation: impl Operation) -> (Report, Duration) {
    *lab.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
    let (ctx, wish) = (lab.ctx(), lab.wish());
    block_on(async {
        let watch = Stopwatch::start();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            wish();
        });
        let performed = run(ctx, operation, Mode::Execute).await.unwrap();
        (performed.report, watch.elapsed())
    })
}

fn restore_of(lab: &Lab, wanted: &Restore) -> RestoreRequest {
    let (point, sought) = (lab.found(wanted).unwrap(), wanted.sought.clone());
    let policy = wanted.policy.clone();
    RestoreRequest { point, sought, policy }
}

/// A wish to stop is heard at once where nothing is written, and after a few seconds where something
/// is: until then it may still come to its end.
fn most(operation: memory::Operation) -> Duration {
    use memory::Operation as Is;
    let reads = matches!(operation, Is::Volume | Is::Volumes | Is::FreeBytes | Is::UsedBytes);
    Duration::from_secs(if reads { 3 } else { 7 })
}

#[test]
fn a_wish_to_stop_is_heard_whatever_the_storage_hangs_in_during_a_backup() {
    use memory::Operation as Is;
    for operation in [
        Is::Volume,
        Is::CreateSnapshot,
        Is::ProtectSnapshot,
        Is::UnprotectSnapshot,
        Is::DeleteSnapshot,
        Is::Export,
        Is::Blocks,
    ] {
        let mut hung = 0;
        for nth in 1.. {
            let situation = Situation::Protected;
            let lab = situation.lab();
            lab.storage.inject(operation, nth, Fault::Hang);
            lab.clock.advance(60);
            let wanted = Backup { audit: Some(1), ..situation.wanted() };
            let asked = lab.backup_operation(&wanted).unwrap();
            let (report, took) = stopped_after_a_second(&lab, asked);
            lab.learn("repository");
            if took < Duration::from_secs(1) {
                assert_eq!(report.exit_code(), 0, "{operation} {nth}: {report:#?}");
                break;
            }
            hung += 1;
            let context = format!("call {nth} of {operation} hangs: {report:#?}");
            assert!(took < most(operation), "{took:?}, {context}");
            assert!(lab.node.get(crate::common::VMID).frozen.is_none(), "{context}");
            assert_eq!(lab.cancel.lock().unwrap().what_is_under_way(), [""; 0], "{context}");
            assert!([0, 130].contains(&report.exit_code()), "{context}");
            // What only reads leaves nothing that was not there.
            if most(operation) > Duration::from_secs(5) {
                converges(&lab, &situation.wanted(), &context);
            }
        }
        assert!(hung > 0, "{operation} was never met");
    }
}

#[test]
fn a_wish_to_stop_is_heard_whatever_the_storage_hangs_in_during_a_restore() {
    use memory::Operation as Is;
    for operation in [Is::Volume, Is::FreeBytes, Is::CreateVolume, Is::Import] {
        let mut hung = 0;
        for nth in 1.. {
            let lab = Situation::Increment.lab();
            let asked = restore_of(&lab, &Restore::to(901));
            lab.storage.inject(operation, nth, Fault::Hang);
            let (report, took) = stopped_after_a_second(&lab, asked);
            if took < Duration::from_secs(1) {
                assert_eq!(report.exit_code(), 0, "{operation} {nth}: {report:#?}");
                break;
            }
            hung += 1;
            let context = format!("call {nth} of {operation} hangs: {report:#?}");
            assert!(took < most(operation), "{took:?}, {context}");
            assert_eq!(report.exit_code(), 130, "{context}");
            assert!(!lab.config_path("pve1", 901).exists(), "{context}");
        }
        assert!(hung > 0, "{operation} was never met");
    }
}

/// Disks 1 to 3 would take an hour each.
#[test]
fn the_first_failed_transfer_stops_the_others_and_is_named_once() {
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536; 4]);
    lab.storage.inject(memory::Operation::Export, 1, Fault::Before);
    for nth in 2..=4 {
        lab.storage.inject(memory::Operation::Export, nth, Fault::Late(Duration::from_secs(3600)));
    }
    let asked = lab.backup_operation(&Backup::default()).unwrap();
    let (ctx, watch) = (lab.ctx(), std::sync::Mutex::new(Duration::ZERO));
    let report = block_on(async {
        let begun = Stopwatch::start();
        let performed = run(ctx, asked, Mode::Execute).await.unwrap();
        *watch.lock().unwrap() = begun.elapsed();
        performed.report
    });
    assert!(watch.into_inner().unwrap() < Duration::from_secs(60));
    let outcome = &report.guests[0];
    assert_eq!((outcome.status, report.exit_code()), (GuestStatus::Failed, 1));
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains("vm-100-disk-0@") && !error.contains("vm-100-disk-1"), "{error}");
    let said = "stopped because of that: scsi1 of ceph:vm-100-disk-1, scsi2 of ceph:vm-100-disk-2, \
        scsi3 of ceph:vm-100-disk-3";
    assert_eq!(outcome.warnings, [said], "{outcome:#?}");
    let exports = lab.storage.calls().iter().filter(|call| call.starts_with("export")).count();
    assert!(exports <= 2, "a disk was begun that would be thrown away");
    assert!(outcome.volumes.is_empty() && outcome.point.is_none(), "{outcome:#?}");
    lab.good_backup(&Backup::default());
}

/// The world of a run in which half a second without a byte is a long time.
fn impatient(lab: &Lab) -> Context {
    let mut ctx = Arc::into_inner(lab.ctx()).unwrap();
    ctx.limits.stall_timeout = Duration::from_millis(500);
    ctx
}

/// On a clock that goes as clocks do; a thread that hangs for ever is not waited for, as at the end of
/// the program.
fn performed(ctx: Context, operation: impl Operation) -> Report {
    wholly_performed(ctx, operation).report
}

fn wholly_performed(ctx: Context, operation: impl Operation) -> Performed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let performed = runtime.block_on(run(Arc::new(ctx), operation, Mode::Execute));
    runtime.shutdown_background();
    performed.unwrap()
}

#[test]
fn an_export_that_stands_still_is_warned_of_and_given_up_and_the_storage_is_named() {
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536]);
    lab.storage.write("vm-100-disk-0", 0, &[7; 65_536]).unwrap();
    lab.storage.inject(memory::Operation::Export, 1, Fault::Stalls(40));
    let asked = lab.backup_operation(&Backup::default()).unwrap();
    let report = performed(impatient(&lab), asked);
    let outcome = &report.guests[0];
    assert_eq!(outcome.status, GuestStatus::Failed, "{report:#?}");
    let error = outcome.error.as_deref().unwrap();
    for text in
        ["the export of ceph:vm-100-disk-0 stood still for 0.5 s", "ceph -s", "--stall-timeout"]
    {
        assert!(error.contains(text), "{text} in {error}");
    }
    let warned = outcome.warnings.iter().filter(|w| w.contains("no byte for 0.25 s")).count();
    assert_eq!(warned, 1, "{outcome:#?}");
    assert_eq!(lab.own_snapshots("vm-100-disk-0"), [""; 0]);
    lab.good_backup(&Backup::default());
}

#[test]
fn an_import_that_stands_still_is_given_up_and_its_volume_goes() {
    let lab = Lab::empty();
    lab.add_guest(100, &[65_536]);
    lab.storage.write("vm-100-disk-0", 0, &[7; 65_536]).unwrap();
    lab.good_backup(&Backup::default());
    let asked = restore_of(&lab, &Restore::to(901));
    lab.storage.inject(memory::Operation::Import, 1, Fault::Stalls(40));
    let report = performed(impatient(&lab), asked);
    let error = report.guests[0].error.as_deref().unwrap();
    assert!(error.contains("the import into ceph:vm-901-disk-0 stood still"), "{report:#?}");
    assert_eq!(lab.volumes_of(901), [""; 0]);
    assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0);
}

/// Hangs as a write to an NFS mount does whose server is gone: nobody can end it.
struct DeadMount;

impl Progress for DeadMount {
    fn begin(&self, _: &str, _: u64) -> Arc<dyn Meter> {
        Arc::new(Self)
    }

    fn note(&self, _: &str) {}
}

impl Meter for DeadMount {
    fn add(&self, _: u64) {
        loop {
            std::thread::park();
        }
    }

    fn end(&self) {}
}

#[test]
fn a_repository_that_hangs_fails_its_guest_and_nothing_more_is_begun_in_it() {
    let lab = Lab::empty();
    for vmid in [100, 101, 102] {
        lab.add_guest(vmid, &[65_536]);
        lab.storage.write(&format!("vm-{vmid}-disk-0"), 0, &[7; 65_536]).unwrap();
    }
    let mut ctx = impatient(&lab);
    (ctx.limits.guests, ctx.progress) = (1, Arc::new(DeadMount));
    let asked = lab.backup_operation(&Backup { selection: "all".into(), ..Backup::default() });
    let report = performed(ctx, asked.unwrap());
    let errors: Vec<&str> = report.guests.iter().filter_map(|g| g.error.as_deref()).collect();
    assert_eq!(errors.len(), 3, "{report:#?}");
    assert!(errors[0].contains("the repository's file system does not go on"), "{}", errors[0]);
    assert!(!errors[0].contains("ceph -s"), "the storage is well");
    for error in &errors[1..] {
        assert!(error.contains("nothing was changed for this guest"), "{error}");
    }
    let warnings = &report.guests[0].warnings;
    assert!(warnings.iter().any(|w| w.contains("does not end")), "{warnings:?}");
    assert_eq!(lab.own_snapshots("vm-100-disk-0"), [""; 0], "the storage answers: it is undone");
}

/// The same where neither a cluster is needed nor the mount of the repository answers.
fn impatient_at_a_dead_mount(lab: &Lab) -> Context {
    let mut ctx = lab.without_cluster();
    (ctx.limits.stall_timeout, ctx.progress) = (Duration::from_millis(500), Arc::new(DeadMount));
    ctx
}

fn two_saved_guests() -> Lab {
    let lab = Lab::empty();
    for vmid in [100, 101] {
        lab.add_guest(vmid, &[65_536]);
        lab.storage.write(&format!("vm-{vmid}-disk-0"), 0, &[7; 65_536]).unwrap();
    }
    lab.backup(&Backup { selection: "all".into(), ..Backup::default() });
    lab
}

#[test]
fn a_copy_that_stands_still_is_given_up_and_no_more_guests_are_begun() {
    let lab = two_saved_guests();
    let request = copy::request(&lab, &copy::Wanted::default()).unwrap();
    let report = performed(impatient_at_a_dead_mount(&lab), request);
    assert_eq!(report.exit_code(), 1, "{report:#?}");
    let errors: Vec<&str> = report.guests.iter().filter_map(|g| g.error.as_deref()).collect();
    assert_eq!(errors.len(), 2, "{report:#?}");
    assert!(
        errors[0].contains("stood still for 0.5") && errors[0].contains("second/"),
        "{errors:?}"
    );
    assert!(errors[1].contains("nothing was changed for this guest"), "{errors:?}");
    assert!(lab.points("second").is_empty());
    // The run has ended, and the process with it.
    lab.earlier_process_is_dead("repository");
    lab.earlier_process_is_dead("second");
    assert_eq!(copy::copied(&lab, &copy::Wanted::default()).exit_code(), 0);
}

#[test]
fn a_copy_that_stands_still_keeps_its_locks() {
    let lab = two_saved_guests();
    let request = copy::request(&lab, &copy::Wanted::default()).unwrap();
    performed(impatient_at_a_dead_mount(&lab), request);
    let report = copy::copied(&lab, &copy::Wanted::default());
    let [first, second] = &report.guests[..] else { panic!("{report:#?}") };
    assert_eq!(first.failure, Some(Failure::Locked), "{report:#?}");
    assert_eq!(second.failure, None, "{report:#?}");
}

fn assembly(lab: &Lab) -> AssembleRequest {
    AssembleRequest {
        point: lab.found(&Restore::to(901)).unwrap(),
        sought: Restore::to(901).sought,
        disk: "scsi0".to_owned(),
        output: lab.repository("files").join("disk.raw"),
    }
}

#[test]
fn an_assembly_that_stands_still_is_given_up_and_says_what_stays() {
    let lab = two_saved_guests();
    let request = assembly(&lab);
    let output = request.output.clone();
    let report = performed(impatient_at_a_dead_mount(&lab), request);
    let error = report.guests[0].error.as_deref().unwrap();
    let texts = ["assembling scsi0 stood still for 0.5", "disk.raw.partial (which stays)"];
    assert!(texts.iter().all(|text| error.contains(text)), "{error}");
    assert_eq!(report.exit_code(), 1);
    assert!(!output.exists());
}

/// The wish is there when the first byte has moved; a minute without one would be none too long.
#[test]
fn a_stopped_assembly_whose_file_system_hangs_says_what_stays() {
    let lab = two_saved_guests();
    let mut ctx = impatient_at_a_dead_mount(&lab);
    (ctx.limits.stall_timeout, ctx.cancel) = (Duration::from_secs(60), Cancel::default());
    let wish = ctx.cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        wish.cancel();
    });
    let report = performed(ctx, assembly(&lab));
    assert_eq!(report.exit_code(), 130, "{report:#?}");
    let outcome = &report.guests[0];
    let error = outcome.error.as_deref().unwrap();
    assert!(error.contains("the warnings name what is left"), "{error}");
    let stays = |warning: &String| warning.contains("disk.raw.partial (which stays)");
    assert!(outcome.warnings.iter().any(stays), "{outcome:#?}");
}

#[test]
fn a_comparison_with_the_source_that_stands_still_is_given_up_and_no_more_guests_are_begun() {
    let lab = two_saved_guests();
    let mut ctx = impatient(&lab);
    (ctx.limits.guests, ctx.progress) = (1, Arc::new(DeadMount));
    let (path, vmids) = (lab.repository("repository"), Vec::new());
    let request = AuditRequest { path, meant: Meant { vmids, label: None }, parts: 1 };
    let done = wholly_performed(ctx, request);
    let disks = DiskAudit::among(&done.turns[0].findings);
    let why = disks[0].result.as_ref().unwrap_err();
    assert!(why.contains("stood still for 0.5 s") && why.contains("ceph -s"), "{why}");
    let refused = done.report.guests[1].error.as_deref().unwrap();
    assert!(refused.contains("nothing was changed for this guest"), "{refused}");
}
