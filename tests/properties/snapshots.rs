//! Names and retention of guest snapshots, for any names, times and numbers. Sends nothing.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use pve_ferry::model::guest_snapshot::{DESCRIPTION, automatic_name, label_in};
use pve_ferry::model::{Guest, GuestKind, GuestSnapshot, Label, TimestampFormat};
use pve_ferry::plan::snapshot::{
    Memory, NewSnapshot, SnapshotFacts, SnapshotPolicy, Which, is_own, plan,
};
use pve_ferry::plan::snapshot_feature::Feature;
use pve_ferry::plan::{Action, GuestAction, check};

fn snapshot() -> impl Strategy<Value = GuestSnapshot> {
    let label =
        prop_oneof![4 => Just("daily"), 1 => Just("daily2"), 1 => Just("hourly"), 1 => Just("x")];
    let described = prop_oneof![5 => Just(DESCRIPTION), 1 => Just("mine"), 1 => Just("")];
    let unfinished = prop_oneof![6 => Just(None), 1 => Just(Some("delete"))];
    (label, 0..1_000_000_u32, 0..50_i64, described, unfinished).prop_map(
        |(label, serial, taken, described, unfinished)| GuestSnapshot {
            name: format!("auto{label}260929{:06}", serial % 24 * 10_000 + serial % 60),
            taken,
            description: format!("{described}\n"),
            parent: None,
            has_memory: false,
            unfinished: unfinished.map(str::to_owned),
        },
    )
}

fn facts(snapshots: Vec<GuestSnapshot>) -> SnapshotFacts {
    SnapshotFacts {
        unseen: None,
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: String::new(),
            node: "pve1".into(),
        },
        status: "running".into(),
        template: false,
        lock: None,
        agent: Some(true),
        disks: Vec::new(),
        feature: Feature::Present,
        memory: None,
        memory_blockers: Vec::new(),
        snapshots,
    }
}

proptest! {
    #[test]
    fn every_name_that_we_make_gives_back_its_label(label in "[a-z][a-z0-9_-]{0,23}", time in "[0-9]{2}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]") {
        let label: Label = label.parse().unwrap();
        let name = automatic_name(&label, &time).unwrap();
        prop_assert_eq!(label_in(&name, &TimestampFormat::default()), Some(label.as_str()));
    }

    #[test]
    fn any_text_is_a_format_or_an_error_and_any_name_is_looked_at(text in "\\PC{0,50}") {
        let format: TimestampFormat = text.parse().unwrap_or_default();
        let _ = label_in(&text, &format);
    }

    #[test]
    fn only_the_oldest_finished_ones_of_the_label_go(
        snapshots in proptest::collection::vec(snapshot(), 0..12), keep in 0..6_u32, creates: bool,
    ) {
        let label: Label = "daily".parse().unwrap();
        let format = TimestampFormat::default();
        let create = creates.then(|| NewSnapshot {
            name: "autodaily270101000000".into(),
            memory: Memory::LeftOut,
            which: Which::All,
            most_percent: 95,
        });
        let policy = SnapshotPolicy { label: label.clone(), format: format.clone(), keep: Some(keep), create };
        let plan = plan(&facts(snapshots.clone()), &policy).unwrap();
        check::check(&plan).unwrap();
        let gone: Vec<GuestSnapshot> = plan.steps().filter_map(|step| match &step.action {
            Action::Guest(GuestAction::DeleteSnapshot(snapshot)) => Some(snapshot.clone()),
            _ => None,
        }).collect();
        let own: Vec<&GuestSnapshot> = snapshots.iter().filter(|s| is_own(s, &label, &format) && s.unfinished.is_none()).collect();
        let room = (keep as usize).saturating_sub(usize::from(creates));
        prop_assert_eq!(gone.len(), own.len().saturating_sub(room));
        prop_assert!(gone.iter().all(|s| own.contains(&s)));
        let newest_gone = gone.iter().map(|s| s.taken).max().unwrap_or(i64::MIN);
        let stays = own.iter().filter(|s| !gone.contains(s)).map(|s| s.taken).min().unwrap_or(i64::MAX);
        prop_assert!(newest_gone <= stays);
    }
}
