//! Reads the facts and the policy of a backup case.

use crate::notation::{after, has, identity, rest, size, snapshot};
use crate::prune_facts;
use pve_ferry::model::{Guest, GuestKind, ImageId, Moment, PointId};
use pve_ferry::model::{Share, SkippedDisk};
use pve_ferry::plan::facts::{
    BackupFacts, BackupPolicy, DebrisFact, DepartedFact, ImageFact, OrphanFact, PointFact,
    RunState, SnapshotFact, SnapshotProtection, VolumeFact,
};
use pve_ferry::retention::Rules;

pub fn read(lines: &[Vec<String>]) -> (BackupFacts, BackupPolicy) {
    let mut facts = empty();
    let mut policy = BackupPolicy {
        label: "daily".parse().unwrap(),
        now: "2026-01-02T00:00:00Z".parse().unwrap(),
        point: PointId(0xfeed),
        new_chain: "0000cafe".parse().unwrap(),
        new_image: ImageId(0xbeef),
        snapshots: SnapshotProtection::Unprotected,
        renew: None,
        audit: None,
        retention: Rules::default(),
        freeze_timeout: pve_ferry::plan::FREEZE_TIMEOUT,
    };
    for line in lines {
        read_line(line, &mut facts, &mut policy);
    }
    (facts, policy)
}

fn empty() -> BackupFacts {
    BackupFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        lock: None,
        template: false,
        run_state: RunState::Stopped,
        agent_said: None,
        found_frozen: false,
        freezes: Vec::new(),
        config_digest: "5f2c".into(),
        volumes: Vec::new(),
        skipped: Vec::new(),
        departed: Vec::new(),
        orphans: Vec::new(),
        chain: "1a2b3c4d".parse().ok(),
        points: Vec::new(),
        audited: Vec::new(),
        debris: Vec::new(),
        frozen_repository: None,
        is_damaged: false,
        leftovers: Vec::new(),
        stored: Vec::new(),
        free_bytes: 1 << 40,
        unread_firewall: None,
    }
}

fn read_line(line: &[String], facts: &mut BackupFacts, policy: &mut BackupPolicy) {
    match line[0].as_str() {
        "guest" => read_guest(line, facts),
        "now" => policy.now = line[1].parse().unwrap(),
        "no-chain" => facts.chain = None,
        "protect" => policy.snapshots = SnapshotProtection::Protected,
        "free" => facts.free_bytes = size(&line[1]),
        "leftovers" => facts.leftovers.push(line[1].clone()),
        "unread-firewall" => facts.unread_firewall = rest(line, "unread-firewall"),
        "frozen-repository" => facts.frozen_repository = rest(line, "frozen-repository"),
        "damaged-repository" => {
            facts.frozen_repository = rest(line, "damaged-repository");
            facts.is_damaged = true;
        }
        "volume" => facts.volumes.push(volume(line)),
        "departed" => facts.departed.push(DepartedFact {
            disk: line[1].parse().unwrap(),
            volume: line[2].parse().unwrap(),
            snapshots: vec![SnapshotFact {
                identity: snapshot(after(line, "id").unwrap(), after(line, "snapshot").unwrap()),
                protected: has(line, "protected"),
            }],
            migrating: has(line, "migrating"),
        }),
        "orphan" => facts.orphans.push(OrphanFact {
            volume: line[1].parse().unwrap(),
            chain: after(line, "chain").unwrap().parse().unwrap(),
            guest: rest(line, "of").unwrap(),
        }),
        "snapshot" => {
            let last = facts.volumes.last_mut().expect("a volume before its snapshots");
            let pve_ferry::model::VolumeIdentity::Memory { id } = last.identity else { panic!() };
            let identity = snapshot(&id.to_string(), &line[1]);
            last.snapshots.push(SnapshotFact { identity, protected: has(line, "protected") });
        }
        "point" => facts.points.push(PointFact {
            seq: line[1].parse().unwrap(),
            moment: line[2].parse::<Moment>().unwrap(),
            images: Vec::new(),
        }),
        "image" => facts.points.last_mut().unwrap().images.push(image(line)),
        "skip" => facts.skipped.push(SkippedDisk {
            disk: line[1].clone(),
            reason: rest(line, "reason").unwrap(),
            by_configuration: !has(line, "fault"),
        }),
        "debris" => facts.debris.push(DebrisFact { directory: line[1].clone() }),
        "freeze" => facts.freezes.push(rest(line, "freeze").unwrap()),
        "agent-said" => facts.agent_said = rest(line, "agent-said"),
        "freeze-timeout" => policy.freeze_timeout = line[1].parse().unwrap(),
        "stored" => facts.stored.push(prune_facts::stored(line)),
        "audit" => policy.audit = Some(line[1].parse().unwrap()),
        "audited" => {
            let (n, of) = (line[1].parse().unwrap(), line[3].parse().unwrap());
            facts.audited.push(Share { n, of });
        }
        "renew" => policy.renew = Some(line[1].parse().unwrap()),
        other => assert!(prune_facts::rule(line, &mut policy.retention), "unknown fact {other}"),
    }
}

fn read_guest(line: &[String], facts: &mut BackupFacts) {
    facts.guest.vmid = line[1].parse().unwrap();
    if has(line, "container") {
        facts.guest.kind = GuestKind::Lxc;
    }
    facts.run_state = match after(line, "state") {
        Some("frozen-able") => RunState::RunningWithAgent,
        Some("silent-agent") => RunState::RunningAgentSilent,
        Some("no-agent") => RunState::RunningWithoutAgent,
        _ => RunState::Stopped,
    };
    facts.template = has(line, "template");
    facts.found_frozen = has(line, "found-frozen");
    facts.lock = after(line, "lock").map(str::to_owned);
}

fn volume(line: &[String]) -> VolumeFact {
    VolumeFact {
        disk: line[1].parse().unwrap(),
        volume: line[2].parse().unwrap(),
        identity: identity(after(line, "id").unwrap()),
        size: size(after(line, "size").unwrap_or("4G")),
        tells_used: true,
        used: after(line, "used").map(size),
        snapshots: Vec::new(),
        change_record_invalid: has(line, "invalid-map"),
        migrating: has(line, "migrating"),
    }
}

fn image(line: &[String]) -> ImageFact {
    ImageFact {
        image: ImageId(line[1].parse().unwrap()),
        source: snapshot(after(line, "of").unwrap(), after(line, "from").unwrap()),
        bytes: (
            size(after(line, "stream").unwrap_or("0")),
            size(after(line, "stored").unwrap_or("0")),
        ),
        is_base: has(line, "base"),
        increments: after(line, "increments")
            .map_or(u32::from(!has(line, "base")), |count| count.parse().unwrap()),
        unusable: rest(line, "unusable"),
        lost_indexes: after(line, "lost-index").map(str::to_owned).into_iter().collect(),
    }
}
