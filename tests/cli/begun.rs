//! Where a repository begins, and where none may: below a mount point without its mount a run without
//! a person must not fill the disk and call that a backup.

use crate::env::Env;
use std::fs;

const BACKUP: &str = "backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1";
const BEGUN: &str = "a new repository was begun in";

/// A node whose backup directory holds nothing yet.
fn nothing_yet() -> Env {
    let env = Env::with_disks(1);
    fs::remove_dir(env.path("repository/pve-ferry")).unwrap();
    env
}

fn is_empty(env: &Env, directory: &str) -> bool {
    fs::read_dir(env.path(directory)).unwrap().next().is_none()
}

fn warnings(env: &Env, words: &str) -> Vec<String> {
    let report = env.run(&format!("{words} --json")).exits(0).json();
    let warnings = report["warnings"].as_array().unwrap();
    warnings.iter().map(|warning| warning.as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_run_by_hand_begins_a_repository_and_says_so_once() {
    let env = nothing_yet();
    env.run(&format!("{BACKUP} --dry-run")).exits(0);
    assert!(is_empty(&env, "repository"), "a dry run made something");
    let said = env.run(BACKUP).exits(0);
    let text = format!("{}{}", said.stdout, said.stderr);
    let repository = env.path("repository").display().to_string();
    assert!(
        text.contains(&format!("{BEGUN} {repository}: is it the one that you mean, and mounted?")),
        "{text}"
    );
    assert_eq!(warnings(&env, BACKUP), [""; 0]);
    fs::create_dir(env.path("second")).unwrap();
    let copy = "copy --from REPO --to DIR/second";
    let told = warnings(&env, copy);
    assert!(
        matches!(&told[..], [told] if told.starts_with(BEGUN) && told.contains("/second")),
        "{told:?}"
    );
    assert_eq!(warnings(&env, copy), [""; 0]);
}

#[test]
fn a_scheduled_run_never_begins_a_repository() {
    let env = nothing_yet();
    let create = "job create --vmid 100 --label daily --path REPO --jobs 1 --threads 1 nightly";
    env.run(create).exits(0).complains(&[BEGUN, "mounted?"]);
    env.run("job run nightly --scheduled").exits(0);
    fs::create_dir(env.path("second")).unwrap();
    for job in [
        "check --operation verify --path REPO",
        "old --operation prune --path REPO --keep 7",
        "away --operation copy --from REPO --to DIR/second --schedule daily",
    ] {
        env.run(&format!("job create {job}")).exits(0);
    }
    assert!(env.path("second/pve-ferry").is_dir(), "the job's repository is begun");
    env.run("job run away --scheduled").exits(0);
    // The mounts are gone; what is below them is empty.
    for directory in ["repository", "second"] {
        fs::rename(env.path(directory), env.path(&format!("{directory}.mounted"))).unwrap();
        fs::create_dir(env.path(directory)).unwrap();
    }
    let before = env.order();
    for job in ["nightly", "check", "old", "away"] {
        let said = env.run(&format!("job run {job} --scheduled")).exits(10);
        said.says(&["holds no repository", "is it mounted?", "nothing was changed"]);
        assert!(is_empty(&env, "repository") && is_empty(&env, "second"), "{job}");
    }
    assert_eq!(env.order(), before, "no command was run");
    // A copy whose target alone is away takes nothing for it either.
    fs::remove_dir(env.path("repository")).unwrap();
    fs::rename(env.path("repository.mounted"), env.path("repository")).unwrap();
    env.run("job run away --scheduled").exits(10).says(&["/second holds no repository"]);
    assert!(is_empty(&env, "second"));
    env.run("job run nightly --scheduled").exits(0);
}

#[test]
fn nothing_at_all_is_not_verified_and_not_ok() {
    let env = nothing_yet();
    env.run("verify --path REPO").exits(10).complains(&["is it mounted?"]);
    fs::create_dir(env.path("second")).unwrap();
    fs::create_dir(env.path("second/pve-ferry")).unwrap();
    env.run("verify --path DIR/second").exits(4).says(&["no restore points"]);
    let found = env.run("verify --path DIR/second --json").exits(4).json();
    assert_eq!(found["status"], "failed", "{found}");
    // What eve4pve-barc wrote needs no repository of ours beside it.
    env.run("job create check --operation verify --path REPO").exits(0);
    env.run("job run check --scheduled").exits(10);
    fs::create_dir(env.path("repository/barc")).unwrap();
    env.run("job run check --scheduled").exits(4);
    assert!(!env.path("repository/pve-ferry").exists());
}

#[test]
fn a_directory_without_its_mount_is_asked_for_it_by_every_command_by_hand_too() {
    let env = nothing_yet();
    fs::create_dir(env.path("second")).unwrap();
    let point = "--path REPO --vmid 100 --time 2026-01-01T00:00:00Z";
    for words in [
        "list --path REPO",
        "list --path REPO --json",
        "restore --path REPO --vmid 100",
        "prune --path REPO --keep 3",
        "verify --path REPO",
        "verify --path REPO --vmid 100 --source",
        "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/image",
        &format!("delete {point} --yes"),
        &format!("protect {point}"),
        &format!("unprotect {point}"),
        "reset --vmid 100 --path REPO --yes",
        "copy --from REPO --to DIR/second",
    ] {
        let said = env.run(words).exits(10);
        said.complains(&["holds no repository", "is it mounted?", "nothing was changed"]);
        assert!(is_empty(&env, "repository") && is_empty(&env, "second"), "{words}");
    }
    env.run("adopt --path REPO --label daily --vmid all").exits(10).complains(&["mounted?"]);
    fs::remove_dir(env.path("repository")).unwrap();
    env.run("list --path REPO").exits(10).complains(&["is it mounted?"]);
}

#[test]
fn a_guest_that_was_always_left_out_is_neither_listed_nor_counted_as_verified() {
    let env = Env::with_disks(1);
    env.add_guest(204, 1);
    let file = env.path("etc/nodes/pve1/qemu-server/204.conf");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replace("size=256K", "size=256K,backup=0")).unwrap();
    env.run("backup --vmid 204 --label daily --path REPO").exits(0);
    for words in ["verify --path REPO", "verify --path REPO --source"] {
        env.run(words).exits(4).says(&["no restore points"]);
        env.run(&format!("{words} --vmid 204")).exits(4).says(&["nothing selected by 204"]);
    }
    env.run("list --path REPO").exits(0).says(&["no restore points"]);
    env.run(BACKUP).exits(0);
    let said = env.run("verify --path REPO").exits(0).stdout;
    assert!(said.contains("guest 100") && !said.contains("204"), "{said}");
    env.run("verify --path REPO --vmid 100,204").exits(3).says(&["nothing selected by 204"]);
}
