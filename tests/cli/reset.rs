//! reset by the built program: what it deletes, what it says, and that it deletes nothing unasked.

use crate::env::Env;
use crate::golden::compare;

fn backed_up() -> Env {
    let env = Env::with_guest();
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    env.forget();
    env
}

#[test]
fn a_reset_without_yes_deletes_nothing_off_a_terminal() {
    let env = backed_up();
    let before = env.everything();
    env.run("reset --vmid 100 --path REPO").exits(2).complains(&["--yes", "--dry-run"]);
    let said = env.run("reset --vmid 100 --path REPO --dry-run").exits(0);
    compare("reset-dry-run.txt", &env.redacted(&said.stdout));
    env.run("reset --vmid 100 --yes").exits(13).says(&["whose chains", "--path"]);
    assert_eq!(before, env.everything());
}

#[test]
fn a_reset_deletes_our_snapshots_and_says_what_stays() {
    let env = backed_up();
    let said = env.run("reset --vmid 100 --path REPO --yes").exits(0);
    compare("reset.txt", &env.redacted(&said.stdout));
    assert_eq!(env.snapshots("vm-100-disk-0"), [""; 0]);
    // Nothing to delete is nothing to ask.
    env.run("reset --vmid 100 --path REPO").exits(0);
    let said = env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    said.says(&["base of ceph:vm-100-disk-0", "base of ceph:vm-100-disk-1"]);
    env.run("verify --path REPO").exits(0);
    env.assert_expected();
}

#[test]
fn a_lost_guests_volume_is_reset_by_its_name() {
    let env = backed_up();
    std::fs::remove_file(env.path("etc/nodes/pve1/qemu-server/100.conf")).unwrap();
    env.run("reset --vmid 100 --path REPO --yes").exits(4);
    let said = env.run("reset --volume ceph:vm-100-disk-1 --path REPO --yes --json").exits(0);
    assert_eq!(said.json()["guests"][0]["changes"].as_array().unwrap().len(), 1);
    assert_eq!(env.snapshots("vm-100-disk-0").len(), 1);
    assert_eq!(env.snapshots("vm-100-disk-1"), [""; 0]);
    env.run("reset --volume ceph:disk --path REPO --yes").exits(2).complains(&["ceph:disk"]);
    env.run("reset --volume ceph:vm-100-disk-9 --path REPO --yes").exits(3);
}

#[test]
fn words_that_make_no_sense_are_refused() {
    let env = backed_up();
    env.run("reset --path REPO").exits(2).complains(&["--vmid"]);
    env.run("reset --vmid 100 --volume ceph:vm-100-disk-0 --path REPO").exits(2);
    env.run("reset --vmid 100 --chain xyz --yes").exits(2).complains(&["8 hexadecimal"]);
    env.run("reset --vmid 100 --path DIR/nowhere --yes").exits(10);
}
