//! Words that are wrong, missing or old, and the exit code of each. Backs nothing up by itself.

use crate::env::Env;

#[test]
fn wrong_words_are_exit_2_and_name_the_way_out() {
    let env = Env::with_disks(1);
    env.run("backup --label daily --path REPO").exits(2).complains(&["--vmid"]);
    env.run("backup --vmid 100 --path REPO").exits(2).complains(&["--label"]);
    env.run("backup --vmid 100 --label daily").exits(2).complains(&["--path"]);
    let upper = env.run("backup --vmid 100 --label Daily --path REPO").exits(2);
    upper.complains(&["Daily", "--label daily"]);
    env.run("backup --vmid 100:50 --label daily --path REPO").exits(2);
    env.run("backup --vmid 100 --label daily --path REPO --compress lzma")
        .exits(2)
        .complains(&["lzma", "zstd"]);
    env.run("restore --path REPO").exits(2).complains(&["--vmid"]);
    env.run("restore --path REPO --vmid x").exits(2);
    env.run("restore --path REPO --vmid 100 --map-storage ceph").exits(2).complains(&["A:B"]);
    env.run("list --path REPO --vmid 1").exits(2);
    assert_eq!(env.order(), "\n", "no command was run");
}

#[test]
fn misspelt_words_are_answered_with_the_right_ones() {
    let env = Env::new();
    env.run("bakcup --vmid 100").exits(2).complains(&["backup"]);
    env.run("backup --vmdi 100").exits(2).complains(&["--vmid"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let env = Env::new();
    env.run("--help").exits(0).says(&["backup", "restore", "Exit codes"]);
    env.run("backup --help").exits(0).says(&["Examples:", "--label"]);
    env.run("version").exits(0).says(&[env!("CARGO_PKG_VERSION")]);
    env.run("--version").exits(0).says(&[env!("CARGO_PKG_VERSION")]);
}

#[test]
fn what_is_missing_has_a_code_of_its_own_d1_12() {
    let env = Env::with_disks(1);
    let said = env.run("backup --vmid 100 --label daily --path DIR/nowhere").exits(10);
    said.complains(&["nowhere", "must exist"]);
    env.run("list --path DIR/nowhere").exits(10);
    env.run("restore --path DIR/nowhere --vmid 100").exits(10);
    env.run("backup --vmid 999 --label daily --path REPO").exits(4);
    let said = env.run("backup --vmid 100,999 --label daily --path REPO").exits(3);
    said.says(&["nothing selected by 999", "1 of 1 guests ok"]);
    env.run("restore --path REPO --vmid 999").exits(4).complains(&["999"]);
    env.run("list --path REPO --vmid 999").exits(4);
    let said = env.run("restore --path REPO --vmid 100").exits(13);
    said.says(&["guest 100 exists", "--target-vmid", "nothing was changed"]);
    assert_eq!(env.images(), ["vm-100-disk-0"]);
}

#[test]
fn a_cluster_file_system_that_is_not_mounted_is_said_and_not_taken_for_one_without_guests() {
    let env = Env::with_disks(1);
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    std::fs::rename(env.path("etc"), env.path("etc.mounted")).unwrap();
    std::fs::create_dir(env.path("etc")).unwrap();
    for words in [
        "backup --vmid all --label daily --path REPO",
        "backup --vmid 100 --label daily --path REPO",
        "show guests",
        "restore --path REPO --vmid 100 --target-vmid 900",
    ] {
        env.run(words).exits(1).complains(&["is pve-cluster running?", "nothing was changed"]);
    }
}

#[test]
fn a_machine_that_is_no_node_is_told_so() {
    let env = Env::with_disks(1);
    std::fs::remove_file(env.path("etc/storage.cfg")).unwrap();
    std::fs::create_dir(env.path("etc/storage.cfg")).unwrap();
    let said = env.run("backup --vmid 100 --label daily --path REPO").exits(1);
    said.complains(&["run this on a PVE node"]);
}

#[test]
fn words_may_stand_in_a_file() {
    let env = Env::with_disks(1);
    let repository = env.path("repository").display().to_string();
    let text = format!("# a comment\n--label \"daily\"\n--path '{repository}'\n");
    std::fs::write(env.path("words"), text).unwrap();
    env.run("backup --vmid 100 @DIR/words").exits(0);
    env.run("backup --vmid 100 @DIR/none").exits(2).complains(&["none"]);
    // A selection is no file.
    env.run("backup --vmid=@all --label daily --path REPO").exits(0);
    env.run("backup --vmid @tag-none --label daily --path REPO").exits(4);
}

#[test]
fn barcs_spellings_are_mapped_and_say_so_in_a_line_each_d1_18() {
    let env = Env::with_disks(1);
    let words = "backup --vmid=100 --compressthreads 1 --label=daily --path=REPO --qemu-freeze \
        --cksum=true --ckmethod sha1sum --unprotect-snap --iothreads 4";
    let said = env.run(words).exits(0);
    let said = said.complains(&["--qemu-freeze:", "--cksum, --ckmethod:", "--unprotect-snap:"]);
    assert_eq!(said.stderr.lines().filter(|line| line.starts_with("--")).count(), 3);
    let list = env.run("list --path REPO --json").json();
    assert_eq!(list["restore_points"][0]["label"], "daily", "no option was swallowed");
}

#[test]
fn an_empty_repository_lists_nothing() {
    let env = Env::new();
    env.run("list --path REPO").exits(0).says(&["no restore points"]);
    let list = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(list["restore_points"], serde_json::json!([]));
}

#[test]
fn rules_that_would_keep_nothing_are_refused_and_zeros_of_pve_keep_all() {
    let env = Env::with_disks(1);
    let backup = "backup --vmid 100 --label daily --path REPO";
    for rules in ["--retain 0", "--retain 0d", "--keep-within 0h", "--keep 0"] {
        for command in ["prune --path REPO", backup] {
            env.run(&format!("{command} {rules}")).exits(2).complains(&[rules]);
        }
        env.run(&format!("job create nightly --vmid 100 --label daily --path REPO {rules}"))
            .exits(2);
    }
    let both = env.run("prune --path REPO --prune-backups keep-all=1,keep-last=2").exits(2);
    both.complains(&["keep-all cannot be set together"]);
    let zone = format!("{backup} --prune-backups keep-daily=7 --timezone Mars/Olympus");
    env.run(&zone).exits(2).complains(&["Mars/Olympus", "Europe/Berlin"]);
    assert_eq!(env.order(), "\n", "no command was run");
    env.run(backup).exits(0);
    env.run(&format!("{backup} --prune-backups keep-last=0,keep-daily=0 --timezone Europe/Berlin"))
        .exits(0);
    env.run("prune --path REPO --prune-backups keep-monthly=0").exits(0);
    let listed = env.run("list --path REPO --json").exits(0).json();
    assert_eq!(listed["restore_points"].as_array().unwrap().len(), 2);
    let create = "job create nightly --vmid 100 --label daily --path REPO";
    env.run(&format!("{create} --prune-backups keep-daily=7 --timezone Europe/Berlin")).exits(0);
    env.run("job show nightly").exits(0).says(&["timezone", "Europe/Berlin"]);
}
