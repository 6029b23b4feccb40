//! show guests: what a selection means, seen on a cluster of three guests. Changes nothing.

use crate::env::Env;
use crate::golden::compare;
use serde_json::json;
use std::fs;

fn cluster() -> Env {
    let env = Env::with_guest();
    env.add_guest(105, 1);
    let path = env.path("etc/nodes/pve1/qemu-server/105.conf");
    let config = fs::read_to_string(&path).unwrap() + "tags: prod;db\ntemplate: 1\n";
    fs::write(path, config).unwrap();
    let container = "hostname: proxy\ntags: prod\nrootfs: ceph:vm-200-disk-0,size=1G\n";
    fs::write(env.path("etc/nodes/pve2/lxc/200.conf"), container).unwrap();
    fs::write(env.path("etc/user.cfg"), "pool:web/shop::100,200:ceph:\n").unwrap();
    env
}

#[test]
fn all_guests_are_shown_with_what_a_selection_can_ask_for() {
    let env = cluster();
    let before = env.everything();
    let said = env.run("show guests").exits(0);
    compare("show-guests.txt", &said.stdout);
    assert_eq!(said.stderr, "");
    assert_eq!(env.everything(), before);
    env.assert_expected();
}

#[test]
fn every_guest_is_explained() {
    let env = cluster();
    let said = env.run("show guests --vmid @tag-prod,100,-@pool-web --explain").exits(0);
    compare("show-guests-explain.txt", &said.stdout);
    let said = env.run("show guests --vmid all,-105 --json").exits(0).json();
    let guests = said["guests"].as_array().unwrap();
    assert_eq!(guests.len(), 2);
    assert_eq!(guests[0]["status"], "running");
    assert_eq!((&guests[1]["vmid"], &guests[1]["pools"]), (&json!(200), &json!(["web/shop"])));
}

#[test]
fn what_names_nothing_is_told_and_nothing_at_all_is_exit_4() {
    let env = cluster();
    let said = env.run("show guests --vmid 100,@pool-nix,-999").exits(3);
    said.complains(&["nothing selected by @pool-nix", "-999 excludes nothing"]);
    env.run("show guests --vmid 999").exits(4).complains(&["999"]);
    env.run("show guests --vmid 105,-105 --explain").exits(4).says(&["excluded by -105"]);
    env.run("show guests --vmid @foo-x").exits(2).complains(&["@foo-x"]);
}

#[test]
fn guests_on_a_node_that_is_down_are_named() {
    let env = cluster();
    let members = r#"{"nodename":"pve1","cluster":{"name":"lab","quorate":1},"nodelist":{
        "pve1":{"online":1,"ip":"10.0.0.1"},"pve2":{"online":0,"ip":"10.0.0.2"}}}"#;
    fs::write(env.path("etc/.members"), members).unwrap();
    env.run("show guests").exits(3).complains(&["pve2 is down", "200"]);
    env.run("show guests --vmid 100").exits(0);
    let said = env.run("show guests --json").exits(3).json();
    assert_eq!(said["unreachable"], json!({"pve2": [200]}));
}

#[test]
fn a_cluster_that_does_not_answer_costs_the_states_only() {
    let env = cluster();
    fs::remove_file(env.path("bin/pvesh")).unwrap();
    let said = env.run("show guests").exits(0);
    assert_eq!(said.stdout.matches('?').count(), 3, "{}", said.stdout);
    said.complains(&["states are not shown"]);
}
