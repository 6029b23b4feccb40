//! Whatever stands on the volumes, a reset deletes exactly the whole names of known chains.
#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::collection::vec;
use proptest::prelude::*;
use pve_ferry::model::{ChainId, Guest, GuestKind, SnapshotIdentity, SnapshotName, VolumeIdentity};
use pve_ferry::plan::facts::SnapshotFact;
use pve_ferry::plan::reset::{ChainFact, ResetFacts, ResetPolicy, ResetVolume, plan};
use pve_ferry::plan::{Action, VolumeAction, check};
use std::collections::BTreeSet;

/// Names of ours of some chains and labels, names that are nearly so, and any others.
fn name() -> impl Strategy<Value = String> {
    let whole = (0..4_u32, prop_oneof![Just("daily"), Just("hourly")], 0..9_u32).prop_map(
        |(chain, label, day)| format!("ferry.{chain:08x}.{label}.2026010{}T000000Z", day + 1),
    );
    let nearly = (whole.clone(), any::<prop::sample::Index>(), "[a-zA-Z0-9._@-]{0,2}").prop_map(
        |(name, at, text)| {
            let at = at.index(name.len());
            format!("{}{text}{}", &name[..at], &name[at + 1..])
        },
    );
    prop_oneof![3 => whole, 2 => nearly, 1 => "[ -~]{1,30}", 1 => Just("barcdaily20260101000000".to_owned())]
}

fn facts(names: &[(String, bool)], known: &BTreeSet<u32>) -> ResetFacts {
    let snapshot = |(number, (name, protected)): (usize, &(String, bool))| SnapshotFact {
        identity: SnapshotIdentity {
            volume: VolumeIdentity::Memory { id: 1 },
            snapshot: number.to_string(),
            name: name.clone(),
        },
        protected: *protected,
    };
    let chain = |chain: &u32| ChainFact {
        chain: ChainId(*chain),
        guest: "guest 100".into(),
        sources: BTreeSet::new(),
    };
    ResetFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: String::new(),
            node: "pve1".into(),
        },
        volumes: vec![ResetVolume {
            volume: "ceph:vm-100-disk-0".parse().unwrap(),
            snapshots: names.iter().enumerate().map(snapshot).collect(),
            migrating: false,
        }],
        skipped: Vec::new(),
        repository: Some("/mnt/backup".into()),
        chains: known.iter().map(chain).collect(),
    }
}

proptest! {
    #[test]
    fn exactly_the_whole_names_of_known_chains_go(
        names in vec((name(), any::<bool>()), 0..12),
        known in prop::collection::btree_set(0..4_u32, 0..3),
        named in prop::collection::btree_set(0..4_u32, 0..2),
        label in prop::option::of(Just("daily")),
    ) {
        let facts = facts(&names, &known);
        let policy = ResetPolicy {
            label: label.map(|label| label.parse().unwrap()),
            chains: named.iter().copied().map(ChainId).collect(),
        };
        let plan = plan(&facts, &policy).unwrap();
        prop_assert!(check::check(&plan).is_ok());
        let deleted: Vec<&SnapshotIdentity> = plan.steps().filter_map(|step| match &step.action {
            Action::Volume(VolumeAction::DeleteSnapshot { snapshot, .. }) => Some(snapshot),
            _ => None,
        }).collect();
        let goes = |fact: &&SnapshotFact| {
            SnapshotName::parse(&fact.identity.name).is_some_and(|name| {
                let chain = name.chain.0;
                (known.contains(&chain) || named.contains(&chain))
                    && label.is_none_or(|label| name.label.as_str() == label)
            })
        };
        let expected: Vec<&SnapshotIdentity> =
            facts.volumes[0].snapshots.iter().filter(goes).map(|fact| &fact.identity).collect();
        prop_assert_eq!(&deleted, &expected);
        prop_assert_eq!(plan.stays.len() + deleted.len(), names.len(), "each other one is listed");
        let released = plan.steps().filter(|s| matches!(s.action, Action::Volume(VolumeAction::ReleaseSnapshot { .. })));
        let protected = facts.volumes[0].snapshots.iter().filter(goes).filter(|f| f.protected);
        prop_assert_eq!(released.count(), protected.count());
    }
}
