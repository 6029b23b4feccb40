//! Resets: exactly the snapshots of our own chains go, whatever else bears a name like theirs; what
//! fails leaves the rest for the next run; the next backup begins anew.

use crate::common::{Backup, FOREIGN, Lab, Restore, VMID, block_on};
use pve_ferry::model::SnapshotName;
use pve_ferry::operation::{CopyRequest, ResetRequest, ResetTarget};
use pve_ferry::plan::copy::Source;
use pve_ferry::plan::facts::SnapshotProtection;
use pve_ferry::plan::reset::ResetPolicy;
use pve_ferry::report::{GuestStatus, Report};
use pve_ferry::repository::{Disk, LockMode, LockOptions, Repository};
use pve_ferry::run::{Confirm, Mode, Performed, confirmed, run};
use pve_ferry::select::Selection;
use pve_ferry::storage::memory::{Fault, Operation as Call};
use std::sync::Arc;
use std::time::Duration;

fn request(lab: &Lab) -> ResetRequest {
    ResetRequest {
        target: ResetTarget::Guests(Selection::parse("100").unwrap()),
        repository: Some(
            Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap(),
        ),
        policy: ResetPolicy::default(),
    }
}

fn performed(lab: &Lab, request: ResetRequest, mode: Mode) -> Performed {
    *lab.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
    block_on(run(lab.ctx(), request, mode)).unwrap()
}

fn asked(lab: &Lab, ask: Confirm) -> anyhow::Result<Report> {
    *lab.cancel.lock().unwrap() = pve_ferry::cancel::Cancel::default();
    Ok(block_on(confirmed(lab.ctx(), request(lab), ask))?.report)
}

fn reset(lab: &Lab, request: ResetRequest) -> Report {
    performed(lab, request, Mode::Execute).report
}

/// Two labels in one repository, one in another.
fn three_chains() -> Lab {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    lab.good_backup(&Backup { label: "hourly", ..Backup::default() });
    lab.good_backup(&Backup { repository: "second", ..Backup::default() });
    lab
}

fn own(lab: &Lab) -> usize {
    lab.volumes_of(VMID).iter().map(|volume| lab.own_snapshots(volume).len()).sum()
}

#[test]
fn the_chains_of_one_repository_go_and_the_next_backup_makes_bases_f7() {
    let lab = three_chains();
    assert_eq!(own(&lab), 6);
    let outcome = reset(&lab, request(&lab));
    assert_eq!(outcome.exit_code(), 0, "{outcome:#?}");
    assert_eq!(outcome.guests[0].changes.len(), 4, "{outcome:#?}");
    assert!(outcome.guests[0].changes[0].contains("makes a base"), "{outcome:#?}");
    let kept = &outcome.guests[0].kept;
    assert_eq!(kept.len(), 2 * (FOREIGN.len() + 1), "{kept:#?}");
    assert!(kept.iter().any(|line| line.contains("no guest of this cluster with chain")));
    assert_eq!(own(&lab), 2, "those of the other repository stay");
    lab.assert_foreign_snapshots_stay("reset");
    lab.assert_points_are_whole("reset");
    let again = reset(&lab, request(&lab));
    assert_eq!((again.exit_code(), again.guests[0].changes.len()), (0, 0));

    let kinds = |wanted: &Backup| -> Vec<String> {
        lab.write_somewhere(5);
        lab.good_backup(wanted).volumes.into_iter().map(|volume| volume.kind).collect()
    };
    assert_eq!(kinds(&Backup { repository: "second", ..Backup::default() }), ["increment"; 2]);
    assert_eq!(kinds(&Backup::default()), ["base"; 2]);
    lab.assert_points_are_whole("backed up again");
    assert_eq!(lab.restore(&Restore::to(901)).unwrap().exit_code(), 0);
}

/// The manifests of copied points name the chain that they were made in, which stays the source's.
#[test]
fn a_reset_with_a_copy_deletes_only_the_snapshots_of_the_copy() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let open = |name: &str| Repository::open_target(&lab.repository(name), Disk::real()).unwrap();
    let wanted = CopyRequest {
        from: open("repository"),
        to: open("second"),
        selection: None,
        label: None,
        source: Source::Stays,
    };
    let copied = block_on(run(Arc::new(lab.without_cluster()), wanted, Mode::Execute)).unwrap();
    assert_eq!(copied.report.exit_code(), 0);
    let of_copy = || ResetRequest { repository: Some(open("second")), ..request(&lab) };
    let outcome = reset(&lab, of_copy());
    assert_eq!((outcome.exit_code(), own(&lab)), (0, 2), "{outcome:#?}");
    lab.learn("second");
    lab.good_backup(&Backup { repository: "second", ..Backup::default() });
    assert_eq!(own(&lab), 4);
    reset(&lab, of_copy());
    assert_eq!(own(&lab), 2);
    let kinds = lab.good_backup(&Backup::default()).volumes.into_iter().map(|v| v.kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["increment"; 2]);
}

#[test]
fn one_label_is_reset_and_protected_snapshots_go_too() {
    let lab = Lab::new();
    let snapshots = SnapshotProtection::Protected;
    lab.good_backup(&Backup { snapshots, ..Backup::default() });
    lab.good_backup(&Backup { label: "hourly", snapshots, ..Backup::default() });
    let mut wanted = request(&lab);
    wanted.policy.label = Some("hourly".parse().unwrap());
    let outcome = reset(&lab, wanted);
    assert_eq!(outcome.exit_code(), 0, "{outcome:#?}");
    for volume in lab.volumes_of(VMID) {
        let [left] = &lab.own_snapshots(&volume)[..] else { panic!("one of {volume}") };
        assert!(left.contains(".daily."), "{left}");
    }
}

#[test]
fn a_guest_without_configuration_is_reset_by_its_volume() {
    let lab = three_chains();
    std::fs::remove_file(lab.config_path("pve1", VMID)).unwrap();
    let by_guest = reset(&lab, request(&lab));
    assert_eq!((by_guest.exit_code(), own(&lab)), (4, 6), "{by_guest:#?}");
    let volume = |disk: u32| format!("ceph:vm-100-disk-{disk}").parse().unwrap();
    let target = ResetTarget::Volumes(vec![volume(1)]);
    let outcome = reset(&lab, ResetRequest { target, ..request(&lab) });
    assert_eq!(outcome.exit_code(), 0, "{outcome:#?}");
    assert_eq!(lab.own_snapshots("vm-100-disk-1").len(), 1, "the other repository's");
    assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 3, "it was not named");
    let target = ResetTarget::Volumes(vec![volume(0), volume(7)]);
    let outcome = reset(&lab, ResetRequest { target, ..request(&lab) });
    assert_eq!(outcome.exit_code(), 3, "a volume that is not there is told: {outcome:#?}");
    assert_eq!(lab.own_snapshots("vm-100-disk-0").len(), 1);
}

#[test]
fn without_an_owner_nothing_goes_and_a_named_chain_needs_none() {
    let lab = three_chains();
    let nobody = ResetRequest { repository: None, ..request(&lab) };
    let outcome = reset(&lab, nobody.clone());
    assert_eq!(outcome.exit_code(), 13, "{outcome:#?}");
    assert!(outcome.guests[0].error.as_ref().unwrap().contains("--chain"), "{outcome:#?}");
    assert_eq!(own(&lab), 6);
    let name = SnapshotName::parse(&lab.own_snapshots("vm-100-disk-0")[0]).unwrap();
    let mut named = nobody;
    named.policy.chains.insert(name.chain);
    assert_eq!(reset(&lab, named).exit_code(), 0);
    assert_eq!(own(&lab), 4);
}

/// The repository may be another cluster's: it bears the same directory, and its chains are not ours.
#[test]
fn chains_of_another_cluster_stay() {
    let lab = three_chains();
    let id = lab.etc().join("pve-ferry");
    let file = std::fs::read_dir(&id).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&file).unwrap();
    let first = if text.starts_with('0') { "1" } else { "0" };
    std::fs::write(&file, format!("{first}{}", &text[1..])).unwrap();
    let outcome = reset(&lab, request(&lab));
    assert_eq!((outcome.exit_code(), own(&lab)), (0, 6), "{outcome:#?}");
    assert_eq!(outcome.guests[0].changes, [""; 0]);
}

#[test]
fn a_dry_run_lists_and_changes_nothing() {
    let lab = three_chains();
    let done = performed(&lab, request(&lab), Mode::DryRun);
    let text = done.plans[0].to_string();
    assert_eq!(text.matches("\n  delete snapshot ").count(), 4, "{text}");
    assert_eq!(text.matches("\n  keep ").count(), 10, "{text}");
    assert_eq!(own(&lab), 6);
}

#[test]
fn a_backup_that_is_under_way_keeps_its_base() {
    let lab = three_chains();
    let options = LockOptions { wait: Some(Duration::ZERO), what: "backup".to_owned() };
    let directory = &lab.guest_directories("repository")[0];
    let held = directory.lock(LockMode::Exclusive, &options).unwrap();
    let outcome = reset(&lab, request(&lab));
    assert_eq!((outcome.exit_code(), own(&lab)), (11, 6), "{outcome:#?}");
    drop(held);
    assert_eq!(reset(&lab, request(&lab)).exit_code(), 0);
}

/// Every call fails in turn, before and after it took effect: the failure is told with what went
/// before it, nothing of others goes, and a second run finishes.
#[test]
fn each_call_that_fails_is_told_and_the_next_run_finishes() {
    let mut cases = 0;
    for (call, fault) in [
        (Call::Volume, Fault::Before),
        (Call::UnprotectSnapshot, Fault::Before),
        (Call::UnprotectSnapshot, Fault::After),
        (Call::DeleteSnapshot, Fault::Before),
        (Call::DeleteSnapshot, Fault::After),
    ] {
        for nth in 1.. {
            let lab = Lab::new();
            let snapshots = SnapshotProtection::Protected;
            lab.good_backup(&Backup { snapshots, ..Backup::default() });
            let word = format!("{call} ");
            let count = || lab.storage.calls().iter().filter(|c| c.starts_with(&word)).count();
            let before = count();
            lab.storage.inject(call, nth, fault);
            let outcome = reset(&lab, request(&lab));
            if count() < before + nth {
                break;
            }
            let context = format!("{call} {nth} {fault:?}");
            let gone = 2 - own(&lab);
            let told = outcome.guests[0].changes.len();
            // Only of the call that failed it is not known whether it took effect.
            assert!(gone == told || gone == told + 1, "{context}: {outcome:#?}");
            if outcome.guests[0].status == GuestStatus::Ok {
                assert!(outcome.exit_code() == 3 || gone == 2, "{context}: {outcome:#?}");
            }
            lab.assert_foreign_snapshots_stay(&context);
            lab.assert_points_are_whole(&context);
            assert_eq!(reset(&lab, request(&lab)).exit_code(), 0, "{context}");
            assert_eq!(own(&lab), 0, "{context}");
            cases += 1;
        }
    }
    assert!(cases >= 10, "{cases}");
}

#[test]
fn a_reset_is_asked_about_once_and_only_where_something_would_go() {
    let lab = three_chains();
    let no = asked(&lab, Box::new(|_| anyhow::bail!("no"))).map(drop).unwrap_err();
    assert_eq!((no.to_string(), own(&lab)), ("no".to_owned(), 6));
    let yes: Confirm = Box::new(|plans| {
        let text = plans[0].to_string();
        assert_eq!((plans.len(), text.matches("\n  delete snapshot ").count()), (1, 4), "{text}");
        Ok(())
    });
    let outcome = asked(&lab, yes).unwrap();
    assert_eq!((outcome.exit_code(), own(&lab)), (0, 2), "{outcome:#?}");
    let outcome = asked(&lab, Box::new(|_| panic!("nothing would go"))).unwrap();
    assert_eq!((outcome.exit_code(), own(&lab)), (0, 2), "{outcome:#?}");
}

/// A backup of the chain came between the question and the answer.
#[test]
fn a_snapshot_that_was_not_shown_before_the_question_stays_with_all_others() {
    let lab = three_chains();
    let seen = lab.own_snapshots("vm-100-disk-1").remove(0);
    let (chain, _) = seen.rsplit_once('.').unwrap();
    let (storage, new) = (lab.driver(), format!("{chain}.20990101T000000Z"));
    let late: Confirm = Box::new(move |_| {
        block_on(storage.create_snapshot("vm-100-disk-1", &new))?;
        Ok(())
    });
    let outcome = asked(&lab, late).unwrap();
    assert_eq!((outcome.exit_code(), own(&lab)), (13, 7), "{outcome:#?}");
    let error = outcome.guests[0].error.as_deref().unwrap();
    assert!(error.contains("20990101T000000Z") && error.contains("run it again"), "{error}");
    assert_eq!((asked(&lab, Box::new(|_| Ok(()))).unwrap().exit_code(), own(&lab)), (0, 2));
}
