//! Hooks that say no, fail or hang in every phase: the scopes are closed, nothing that was there is
//! lost, and the next run converges.

use crate::common::Notes;
use crate::common::{Backup, Lab, Restore, VMID};
use crate::situation::{Before, Situation, converges};
use pve_ferry::hooks::{Hooks, JobFacts};
use pve_ferry::operation::{ResetRequest, ResetTarget};
use pve_ferry::plan::Plan;
use pve_ferry::plan::reset::ResetPolicy;
use pve_ferry::report::GuestStatus;
use pve_ferry::repository::{Disk, Repository};
use pve_ferry::run::{Mode, confirmed, run};
use pve_ferry::select::Selection;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Gives the lab's next run a hook; its lines are events.
fn hook(lab: &Lab, script: &str) {
    let path: PathBuf = lab.repository("hooks").join("hook");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let job = JobFacts { operation: "backup".into(), ..JobFacts::default() };
    let mut hooks = Hooks::load(Some((&path, None)), "/nonexistent".as_ref(), job).unwrap();
    hooks.log = Arc::new(Notes(lab.events.clone()));
    *lab.hooks.lock().unwrap() = Arc::new(hooks);
}

fn without_hook(lab: &Lab) {
    *lab.hooks.lock().unwrap() = Arc::default();
}

/// The phases that the run's hooks were called in.
fn phases(lab: &Lab) -> Vec<String> {
    let phase = |event: &String| event.strip_prefix("note hook hook: phase ").map(str::to_owned);
    lab.events.log().iter().filter_map(phase).collect()
}

#[test]
fn no_hook_is_called_before_a_person_said_yes_and_all_are_after() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let request = || ResetRequest {
        target: ResetTarget::Guests(Selection::parse("100").unwrap()),
        repository: Some(
            Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap(),
        ),
        policy: ResetPolicy::default(),
    };
    hook(&lab, "echo \"phase $1\"");
    let no = Box::new(|_: &[Plan]| anyhow::bail!("no"));
    assert!(lab.in_a_runtime(confirmed(lab.ctx(), request(), no)).is_err());
    assert_eq!(phases(&lab), [""; 0]);
    let yes = Box::new(|_: &[Plan]| Ok(()));
    let done = lab.in_a_runtime(confirmed(lab.ctx(), request(), yes)).unwrap();
    assert_eq!(done.report.exit_code(), 0);
    let expected = "job-start guest-start snap-remove-pre snap-remove-post snap-remove-pre \
                    snap-remove-post guest-end job-end";
    assert_eq!(phases(&lab).join(" "), expected);
}

#[test]
fn a_hook_that_says_no_in_any_phase_leaves_nothing_half() {
    for situation in [Situation::First, Situation::Increment, Situation::Recreated] {
        let lab = situation.lab();
        hook(&lab, "echo \"phase $1\"");
        lab.backup(&situation.wanted());
        let all = phases(&lab);
        assert!(all.len() >= 10, "{all:?}");
        let mut stopped = 0;
        for phase in all.iter().collect::<std::collections::BTreeSet<_>>() {
            let lab = situation.lab();
            let before = Before::of(&lab);
            hook(&lab, &format!("[ \"$1\" != {phase} ] || exit 7"));
            let context = format!("{situation:?}, {phase} fails");
            let wanted = situation.wanted();
            if phase == "job-start" {
                let error = lab.perform_backup(&wanted).err().map(|error| format!("{error:#}"));
                assert!(error.is_some_and(|error| error.contains("job-start")), "{context}");
            } else {
                let report = lab.backup(&wanted);
                let outcome = before.check(&lab, &report, &context);
                let vetoes = phase.ends_with("-pre") || phase.ends_with("-start");
                let late = phase.starts_with("snap-remove");
                let failed = outcome.status == GuestStatus::Failed;
                assert_eq!(failed, vetoes && !late, "{context}: {outcome:#?}");
                stopped += usize::from(failed);
                let told = outcome.warnings.iter().chain(&report.warnings).chain(&outcome.error);
                assert!(told.clone().any(|text| text.contains(phase.as_str())), "{context}");
            }
            assert_eq!(lab.node.guards(), [""; 0], "{context}");
            without_hook(&lab);
            converges(&lab, &wanted, &context);
        }
        assert_eq!(stopped, 3, "guest-start, snap-create-pre, export-pre");
    }
}

#[test]
fn no_hook_is_called_while_the_guest_is_frozen() {
    let lab = Situation::Increment.lab();
    let node = lab.node.clone();
    let frozen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = frozen.clone();
    hook(&lab, "echo \"phase $1\"");
    lab.events.watch(move |event| {
        if event.starts_with("note hook ") && node.get(VMID).frozen.is_some() {
            seen.lock().unwrap().push(event.to_owned());
        }
    });
    lab.good_backup(&Backup::default());
    lab.events.unwatch();
    assert_eq!(*frozen.lock().unwrap(), [""; 0]);
    let all = phases(&lab);
    let at = |phase: &str| all.iter().position(|p| p == phase).unwrap_or_else(|| panic!("{all:?}"));
    assert!(at("snap-create-pre") < at("snap-create-post") && at("export-pre") < at("export-post"));
}

#[test]
fn a_restore_that_a_hook_stops_leaves_no_guest_and_no_volume() {
    for phase in ["guest-start", "restore-pre"] {
        let lab = Lab::new();
        lab.good_backup(&Backup::default());
        hook(&lab, &format!("[ \"$1\" != {phase} ] || exit 7"));
        let report = lab.restore(&Restore::to(900)).unwrap();
        assert_eq!(report.exit_code(), 1, "{phase}: {report:#?}");
        assert!(!lab.config_path("pve1", 900).exists(), "{phase}");
        let volumes = crate::common::block_on(lab.driver().volumes()).unwrap();
        assert!(volumes.iter().all(|volume| !volume.contains("-900-")), "{phase}: {volumes:?}");
        without_hook(&lab);
        assert_eq!(lab.restore(&Restore::to(900)).unwrap().exit_code(), 0, "{phase}");
    }
}

#[test]
fn a_reset_that_a_hook_stops_halfway_says_what_is_gone_and_the_next_one_ends_it() {
    let lab = Lab::new();
    lab.good_backup(&Backup::default());
    let request = || ResetRequest {
        target: ResetTarget::Guests(Selection::parse("100").unwrap()),
        repository: Some(
            Repository::open_target(&lab.repository("repository"), Disk::real()).unwrap(),
        ),
        policy: ResetPolicy::default(),
    };
    let reset = || {
        let operation = request();
        let performed = run(lab.ctx(), operation, Mode::Execute);
        lab.in_a_runtime(performed).unwrap().report
    };
    let own = || -> usize {
        lab.volumes_of(VMID).iter().map(|volume| lab.own_snapshots(volume).len()).sum()
    };
    assert_eq!(own(), 2);
    let second = "if [ $1 = snap-remove-pre ]; then [ ! -e $0.once ] || exit 7; touch $0.once; fi";
    hook(&lab, &format!("echo \"phase $1\"; {second}"));
    let outcome = reset().guests.remove(0);
    assert_eq!((outcome.status, outcome.changes.len()), (GuestStatus::Failed, 1), "{outcome:#?}");
    let error = outcome.error.unwrap();
    assert!(error.contains("what was deleted before is gone, the rest stays"), "{error}");
    assert_eq!(own(), 1);
    let expected = "job-start guest-start snap-remove-pre snap-remove-post snap-remove-pre \
                    snap-remove-abort guest-abort job-end";
    assert_eq!(phases(&lab).join(" "), expected);
    without_hook(&lab);
    assert_eq!((reset().exit_code(), own()), (0, 0));
}
