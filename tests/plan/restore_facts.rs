//! Reads the facts and the policy of a restore case.

use crate::notation::{after, has, identity, rest, size};
use pve_ferry::model::SkippedDisk;
use pve_ferry::model::{Guest, GuestKind, VmId, VolumeId, VolumeShape};
use pve_ferry::plan::damage::{Choice, DamageFacts, KnownDamage, PointName};
use pve_ferry::plan::left::LeftVolume;
use pve_ferry::plan::restore::{
    Afterwards, CloudInitDrive, Existing, NodeDisk, PresentGuest, RestoreFacts, RestorePolicy,
    StorageRules, StoredVolume, TargetStorage,
};
use pve_ferry::pve_config::MacPrefix;

pub fn read(lines: &[Vec<String>]) -> (RestoreFacts, RestorePolicy) {
    let mut facts = RestoreFacts {
        vmid: "100".parse().unwrap(),
        name: "web".into(),
        kind: GuestKind::Qemu,
        volumes: Vec::new(),
        skipped: Vec::new(),
        damage: DamageFacts::default(),
        firewall: Ok(None),
        present_firewall: None,
        config: Ok(String::new()),
        mac_prefix: MacPrefix::default(),
        node_disks: Vec::new(),
        cloud_init: Vec::new(),
        quorate: true,
        owners: std::collections::BTreeMap::new(),
        present: None,
        attach: None,
        left_reserved: false,
        storages: std::collections::BTreeMap::new(),
        left: Vec::new(),
        node: "pve1".into(),
    };
    let mut policy = RestorePolicy::default();
    for line in lines {
        match line[0].as_str() {
            "restore" => options(line, &mut policy),
            "disk" => policy.disks.push(line[1].parse().unwrap()),
            "map" => _ = policy.storage_map.insert(line[1].clone(), line[2].clone()),
            _ => fact(line, &mut facts),
        }
    }
    // Who gets the volumes is there, unless the case says otherwise.
    facts.attach = policy.attach.filter(|_| !lines.iter().any(|l| l[0] == "no-guest")).map(guest);
    (facts, policy)
}

fn options(line: &[String], policy: &mut RestorePolicy) {
    policy.target = after(line, "target").map(|v| v.parse().unwrap());
    policy.storage = after(line, "storage").map(str::to_owned);
    policy.attach = after(line, "attach").map(|v| v.parse().unwrap());
    policy.to = after(line, "to").map(|to| match to.split_once(':') {
        Some((storage, name)) => (storage.to_owned(), Some(name.to_owned())),
        None => (to.to_owned(), None),
    });
    if has(line, "force") {
        policy.existing = Existing::Replace;
    }
    policy.random = (1..=255).collect();
    policy.unique = has(line, "unique");
    if has(line, "start") {
        policy.afterwards = Afterwards::Start;
    }
}

fn fact(line: &[String], facts: &mut RestoreFacts) {
    match line[0].as_str() {
        "container" => facts.kind = GuestKind::Lxc,
        "stored" => facts.volumes.push(StoredVolume {
            disk: line[1].parse().unwrap(),
            volume: line[2].parse().unwrap(),
            shape: VolumeShape {
                size: size(after(line, "size").unwrap()),
                striping: after(line, "striped").map(|unit| (size(unit), 4)),
                ..Default::default()
            },
            data_bytes: size(after(line, "data").unwrap_or("0")),
        }),
        "storage" => _ = facts.storages.insert(line[1].clone(), storage(line)),
        "rules" => {
            let list = |key| after(line, key).map(|text| text.split(',').map(str::to_owned));
            let list = |key| list(key).map(Iterator::collect).unwrap_or_default();
            let (nodes, content) = (list("nodes"), list("content"));
            let rules = StorageRules { disabled: has(line, "disabled"), nodes, content };
            facts.storages.get_mut(&line[1]).unwrap().rules = Some(rules);
        }
        "config" => push_line(facts.config.as_mut().unwrap(), line),
        "present-config" => push_line(&mut facts.present.as_mut().unwrap().config, line),
        "left-reserved" => facts.left_reserved = true,
        "no-quorum" => facts.quorate = false,
        "owner" => _ = facts.owners.insert(line[1].clone(), line[2].parse().unwrap()),
        "node-disk" => facts
            .node_disks
            .push(NodeDisk { disk: line[1].parse().unwrap(), path: line[2].clone() }),
        "cloud-init" => facts.cloud_init.push(CloudInitDrive {
            disk: line[1].parse().unwrap(),
            volume: line[2].parse().unwrap(),
            can_be_made: !has(line, "gone"),
        }),
        "present-firewall" => facts.present_firewall = Some(line[1].clone()),
        "point" => {
            facts.damage.point = Some(name(line));
            facts.damage.choice = if has(line, "named") { Choice::Named } else { Choice::Newest };
        }
        "no-guest" => {}
        "sound" => facts.damage.sound = Some(name(line)),
        "firewall" => facts.firewall = Err(rest(line, "damaged").unwrap()),
        "damaged" => facts
            .damage
            .found
            .push(KnownDamage { disk: line[1].parse().ok(), why: rest(line, "reason").unwrap() }),
        "left" => facts.left.push(LeftVolume {
            volume: line[1].parse().unwrap(),
            identity: identity(after(line, "id").unwrap()),
            present: identity(after(line, "now").or(after(line, "id")).unwrap()),
            referenced: has(line, "referenced"),
            used: size(after(line, "used").unwrap_or("0")),
        }),
        "present" => facts.present = Some(present(line)),
        "skip" => facts.skipped.push(SkippedDisk {
            disk: line[1].clone(),
            reason: rest(line, "reason").unwrap(),
            by_configuration: true,
        }),
        other => panic!("unknown fact {other}"),
    }
}

/// A line of a configuration, as it stands behind the word `config`.
fn push_line(config: &mut String, line: &[String]) {
    config.push_str(&line[1..].join(" "));
    config.push('\n');
}

fn storage(line: &[String]) -> TargetStorage {
    let volumes = rest(line, "holds").unwrap_or_default();
    let pool = after(line, "pool").unwrap_or(&line[1]).to_owned();
    TargetStorage {
        node: after(line, "node").map(|node| node.parse().unwrap()),
        volumes: volumes.split_whitespace().map(str::to_owned).collect(),
        free_bytes: after(line, "free").map(size),
        holds: pool.clone(),
        space: pool,
        rules: None,
    }
}

fn guest(vmid: VmId) -> Guest {
    Guest { vmid, kind: GuestKind::Qemu, name: "other".into(), node: "pve1".into() }
}

fn name(line: &[String]) -> PointName {
    PointName { label: line[1].parse().unwrap(), time: line[2].parse().unwrap() }
}

fn present(line: &[String]) -> PresentGuest {
    PresentGuest {
        guest: Guest {
            vmid: line[1].parse().unwrap(),
            kind: if has(line, "container") { GuestKind::Lxc } else { GuestKind::Qemu },
            name: "present".into(),
            node: after(line, "on").unwrap_or("pve1").into(),
        },
        running: has(line, "running"),
        lock: after(line, "lock").map(str::to_owned),
        config_digest: "9999".into(),
        config: String::new(),
        volumes: volumes(line),
        snapshots: after(line, "snapshots")
            .map_or_else(Vec::new, |names| names.split(',').map(str::to_owned).collect()),
    }
}

/// `volumes N`: disks 0 to N - 1 on ceph.
fn volumes(line: &[String]) -> Vec<VolumeId> {
    let count: u32 = after(line, "volumes").unwrap_or("0").parse().unwrap();
    (0..count).map(|n| format!("ceph:vm-{}-disk-{n}", line[1]).parse().unwrap()).collect()
}
