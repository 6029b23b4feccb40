//! Reads the facts of a case in which something is missing that a backup stands on.

use pve_ferry::model::{Guest, GuestKind};
use pve_ferry::plan::prepare::PrepareFacts;

pub fn read(lines: &[Vec<String>]) -> PrepareFacts {
    let mut facts = PrepareFacts {
        guest: Guest {
            vmid: "100".parse().unwrap(),
            kind: GuestKind::Qemu,
            name: "web".into(),
            node: "pve1".into(),
        },
        new_repository: None,
        new_cluster_id: None,
        new_directory: false,
    };
    for line in lines {
        match line[0].as_str() {
            "prepare" => {}
            "no-repository" => facts.new_repository = Some(line[1].clone()),
            "no-cluster-id" => facts.new_cluster_id = Some([7; 16]),
            "no-directory" => facts.new_directory = true,
            other => panic!("unknown fact {other}"),
        }
    }
    facts
}
