//! Which phases each command calls its hooks in, what a hook can stop there, and who hears of a person's
//! acts. What hooks are told in detail is tested in the crate.

use crate::adopt::saved_by_barc;
use crate::env::Env;
use crate::hooks::{put, with_hook};
use crate::removal::{golden, points};
use std::fs;
use std::os::unix::net::UnixDatagram;

const FIRST: &str = "2026-01-01T12:00:00Z";
const HOOK: &str = "--script DIR/hook";
/// What each command is here, and the phases of a run in which nothing goes wrong.
const COMMANDS: [(&str, &str, &str); 6] = [
    (
        "reset",
        "reset --vmid 100 --path REPO --yes",
        "job-start guest-start snap-remove-pre snap-remove-post snap-remove-pre snap-remove-post guest-end job-end",
    ),
    (
        "adopt",
        "adopt --path DIR/old --to REPO --vmid 100 --label daily",
        "job-start guest-start export-pre export-post guest-end job-end",
    ),
    (
        "copy",
        "copy --from REPO --to DIR/second --label daily",
        "job-start guest-start export-pre export-post guest-end job-end",
    ),
    (
        "verify",
        "verify --path REPO",
        "job-start guest-start verify-pre verify-post guest-end job-end",
    ),
    (
        "assemble",
        "assemble --path REPO --vmid 100 --disk scsi0 --output DIR/one.raw",
        "job-start guest-start restore-pre restore-post guest-end job-end",
    ),
    (
        "delete",
        "delete --path REPO --vmid 100 --time latest --yes",
        "job-start guest-start prune-pre prune-post guest-end job-end",
    ),
];

/// A machine on which the command has something to do.
fn env_of(command: &str) -> Env {
    let env = match command {
        "adopt" => saved_by_barc(),
        _ => {
            let env = Env::with_guest();
            env.run("backup --vmid 100 --label daily --path REPO --protect-snap").exits(0);
            env
        }
    };
    fs::create_dir(env.path("second")).unwrap();
    put(&env, "hook", ":");
    env.forget();
    env
}

/// The phases that the hook was called in since the log was forgotten, with its other words.
fn called(env: &Env) -> Vec<String> {
    let order = env.order();
    let hooks = order.lines().filter_map(|line| line.strip_prefix("hook "));
    let called = hooks.map(|line| line.trim_end().to_owned()).collect();
    env.forget();
    called
}

fn phases(env: &Env) -> Vec<String> {
    called(env).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// What a hook that says no must leave as it was.
fn state(env: &Env) -> impl PartialEq + use<> {
    let mut second = Vec::new();
    crate::copying::find(&env.path("second"), "manifest.json", &mut second);
    let snapshots = fs::read_dir(env.path("rbd/rbd")).unwrap().map(|image| {
        let path = image.unwrap().path();
        (path.clone(), fs::read(path.join("snaps")).ok())
    });
    let mut snapshots: Vec<_> = snapshots.collect();
    snapshots.sort();
    (points(env), second, snapshots, env.path("one.raw").exists())
}

#[test]
fn each_command_calls_its_phases_in_order() {
    for (command, words, expected) in COMMANDS {
        let env = env_of(command);
        env.run(&format!("{words} {HOOK}")).exits(0);
        let mut phases = phases(&env);
        // An adoption's volumes are read at the same time.
        if command == "adopt" {
            phases[2..6].sort_by_key(|phase| phase.ends_with("-post"));
            phases.dedup();
        }
        assert_eq!(phases.join(" "), expected, "{command}");
        env.assert_expected();
    }
}

#[test]
fn a_hook_that_says_no_before_something_leaves_it_undone_and_the_next_run_does_it() {
    for (command, words, expected) in COMMANDS {
        let before_something = |p: &&str| p.ends_with("-pre") || p.ends_with("-start");
        let mut vetoes: Vec<&str> = expected.split(' ').filter(before_something).collect();
        vetoes.dedup();
        assert_eq!(vetoes.len(), 3, "{command}");
        let env = env_of(command);
        let before = state(&env);
        for phase in vetoes {
            put(&env, "hook", &format!("[ \"$1\" != {phase} ] || {{ echo not now; exit 3; }}"));
            let said = env.run(&format!("{words} {HOOK}")).exits(1);
            let text = format!("{}{}", said.stdout, said.stderr);
            assert!(text.contains(&format!("stopped it in phase {phase}")), "{command}: {text}");
            assert!(text.contains("hook hook: not now"), "{command}: {text}");
            assert!(state(&env) == before, "{command} {phase}: {text}");
            let target = fs::read_dir(env.path("second")).unwrap().count();
            assert!(target == 0 || phase == "export-pre", "{phase} came after the first directory");
            let phases = phases(&env).join(" ");
            let end = match phase {
                "job-start" => "job-start job-abort".to_owned(),
                "guest-start" => "job-start guest-start guest-abort job-end".to_owned(),
                _ => {
                    let about = phase.trim_end_matches("-pre");
                    assert!(phases.contains(&format!("{about}-abort")), "{command}: {phases}");
                    assert!(!phases.contains(&format!("{about}-post")), "{command}: {phases}");
                    "guest-abort job-end".to_owned()
                }
            };
            assert!(phases.ends_with(&end), "{command} {phase}: {phases}");
        }
        put(&env, "hook", ":");
        env.run(&format!("{words} {HOOK}")).exits(0);
        assert!(command == "verify" || state(&env) != before, "{command}");
    }
}

#[test]
fn what_goes_wrong_inside_is_an_abort_and_the_job_still_ends_with_its_status() {
    let spoilt = |command: &str| {
        let env = env_of(command);
        match command {
            "reset" => env.spoil("match unprotect\nfail 16 rbd: busy\n"),
            "assemble" => fs::write(env.path("one.raw"), "mine").unwrap(),
            "delete" => {
                let mut found = Vec::new();
                crate::copying::find(&env.path("repository"), "guest.json", &mut found);
                found
                    .retain(|path| path.parent().is_some_and(|guest| guest.join("daily").exists()));
                fs::remove_file(&found[0]).unwrap();
                fs::create_dir(&found[0]).unwrap();
            }
            "adopt" => {
                let snapshot = env.path("rbd/rbd/vm-100-disk-0/snap-1");
                let mut bytes = fs::read(&snapshot).unwrap();
                bytes[5] ^= 1;
                fs::write(snapshot, bytes).unwrap();
            }
            _ => {
                let mut found = Vec::new();
                crate::copying::find(&env.path("repository"), "scsi0.base.rbd.zst", &mut found);
                let mut bytes = fs::read(&found[0]).unwrap();
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0xff;
                fs::write(&found[0], bytes).unwrap();
            }
        }
        env.forget();
        env
    };
    for (command, words, expected) in COMMANDS {
        let env = spoilt(command);
        let said = env.run(&format!("{words} {HOOK}"));
        let damage = matches!(command, "adopt" | "verify" | "copy");
        let said = said.exits(if damage { 12 } else { 1 });
        let called = called(&env);
        let about = expected.split(' ').nth(2).unwrap().trim_end_matches("-pre");
        let has = |what: &str| called.iter().any(|line| line.starts_with(what));
        assert!(has(&format!("{about}-abort {command} 100")), "{called:?} {said:?}");
        assert!(called.contains(&format!("guest-abort {command} 100  failed")), "{called:?}");
        assert_eq!(called.last().map(String::as_str), Some("job-end  failed"), "{said:?}");
        assert!(!has("guest-end"), "{called:?}");
    }
}

/// What may not go is refused before anybody is asked about it.
#[test]
fn a_protected_point_is_refused_before_a_hook_hears_that_it_goes() {
    let env = env_of("delete");
    env.run("protect --path REPO --vmid 100 --time latest").exits(0);
    env.forget();
    let said = env.run(&format!("delete --path REPO --vmid 100 --time latest --yes {HOOK}"));
    said.exits(1).complains(&["is protected; unprotect it first"]);
    assert_eq!(phases(&env), ["job-start", "guest-abort", "job-end"]);
}

#[test]
fn comparing_with_the_source_has_the_hooks_of_a_check_and_can_be_stopped_by_one() {
    // The fake rbd has no objects to look at: what cannot be compared is not "ok".
    let env = env_of("verify");
    let words = format!("verify --path REPO --source {HOOK}");
    env.run(&words).exits(3).says(&["NOT COMPARED"]);
    let expected =
        ["job-start", "guest-start", "verify-pre", "verify-abort", "guest-abort", "job-end"];
    assert_eq!(phases(&env), expected);
    let before = env.everything();
    put(&env, "hook", "[ \"$1\" != verify-pre ]");
    let said = env.run(&words).exits(1).says(&["stopped it in phase verify-pre"]);
    assert!(!said.stdout.contains("NOT COMPARED"), "{said:?}");
    put(&env, "hook", "[ \"$1\" != job-start ]");
    env.run(&words).exits(1).complains(&["nothing was changed", "stopped it in phase job-start"]);
    assert!(env.everything() == before);
    env.run("verify --path DIR/nowhere --source --script DIR/hook --hook-compat barc").exits(10);
}

#[test]
fn a_move_calls_each_phase_of_each_point_and_a_second_copy_only_those_of_the_turn() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    put(&env, "hook", "echo \"$1 $PVE_FERRY_POINT|$PVE_FERRY_PATH\"");
    env.run(&format!("copy --from REPO --to DIR/second --dry-run {HOOK}")).exits(0);
    assert_eq!(called(&env), [""; 0]);
    let copy = format!("copy --from REPO --to DIR/second {HOOK}");
    let said = env.run(&copy).exits(0);
    let second = env.path("second").display().to_string();
    said.complains(&[&format!("hook hook: export-pre daily {FIRST}|{second}")]);
    let count = |all: &[String], what: &str| all.iter().filter(|p| p.starts_with(what)).count();
    let all = phases(&env);
    assert_eq!((count(&all, "export-pre"), count(&all, "export-post")), (4, 4), "{all:?}");
    env.run(&copy).exits(0);
    assert_eq!(phases(&env), ["job-start", "guest-start", "guest-end", "job-end"]);
    env.run(&format!("{copy} --move")).exits(0);
    let all = phases(&env);
    assert_eq!(count(&all, "export"), 0, "{all:?}");
    assert!(count(&all, "verify-post") > 0, "{all:?}");
    assert_eq!(count(&all, "prune-pre"), 4, "{all:?}");
    // A script of eve4pve-barc knew no such command.
    env.run(&format!("copy --from DIR/second --to REPO {HOOK} --hook-compat barc")).exits(0);
    assert_eq!(called(&env), [""; 0]);
}

#[test]
fn a_point_that_may_not_go_from_the_source_stays_and_its_copy_too() {
    let env = golden();
    fs::create_dir(env.path("second")).unwrap();
    let before = points(&env);
    put(&env, "hook", "[ \"$1\" != prune-pre ]");
    let said = env.run(&format!("copy --from REPO --to DIR/second --move {HOOK}")).exits(1);
    said.says(&["copied point daily", "stopped it in phase prune-pre"]);
    assert_eq!(points(&env), before);
    env.run("verify --path DIR/second").exits(0);
}

#[test]
fn a_script_of_barc_hears_of_assemble_as_it_did() {
    let env = env_of("assemble");
    put(&env, "hook", "echo \"$EVE4PVE_BARC_PHASE $EVE4PVE_BARC_VMID\"; exit 7");
    let words = COMMANDS[4].1;
    let said = env.run(&format!("{words} {HOOK} --hook-compat barc")).exits(0);
    said.complains(&["hook hook: assemble-job-start 0", "hook hook: assemble-job-end 0"]);
    assert_eq!(phases(&env), ["job-start", "job-end"]);
}

#[test]
fn paths_that_are_typed_from_where_the_user_is_are_whole_for_hooks_which_run_elsewhere() {
    let env = golden();
    let log = Log::of(&env);
    put(&env, "hook", "for p in $PVE_FERRY_PATH $PVE_FERRY_FILE; do echo \"$1 $p\"; done");
    // The program is started where cargo is.
    let up = "../".repeat(env!("CARGO_MANIFEST_DIR").matches('/').count());
    let home = env.path("").display().to_string();
    let home = format!("{up}{}", home.trim_start_matches('/'));
    let words = format!("--path {home}repository --vmid 100 --disk scsi0 --output {home}one.raw");
    let said = env.run(&format!("assemble {words} {HOOK}")).exits(0);
    let here = env!("CARGO_MANIFEST_DIR");
    said.complains(&[
        &format!("hook hook: job-start {here}/{home}repository"),
        &format!("hook hook: restore-pre {here}/{home}one.raw"),
    ]);
    let lines = log.lines();
    assert!(lines.contains(&format!("wrote scsi0 into {home}one.raw, by ")), "{lines}");
}

#[test]
fn what_is_typed_wrong_or_not_agreed_to_is_no_run() {
    let env = env_of("reset");
    let words = [
        ("reset --vmid 100 --path REPO", 2),
        ("reset --vmid 100 --path REPO --dry-run", 0),
        ("delete --path REPO --vmid 100 --time latest", 2),
        ("delete --path REPO --vmid 100 --time 2020-01-01T00:00:00Z --yes", 4),
        ("assemble --path REPO --vmid 100 --disk scsi9 --output DIR/one.raw", 1),
        ("copy --from REPO --to REPO", 2),
    ];
    for (words, code) in words {
        env.run(&format!("{words} {HOOK} --mail a@b.example")).exits(code);
        assert_eq!(called(&env), [""; 0], "{words}");
        assert!(!env.path("state/mails").exists(), "{words}");
    }
    let before = env.everything();
    for (_, words, _) in COMMANDS {
        env.run(&format!("{words} --script DIR/missing")).exits(2).complains(&["missing"]);
    }
    assert!(env.everything() == before);
}

/// The system's log of a test.
struct Log(UnixDatagram);

impl Log {
    fn of(env: &Env) -> Self {
        let log = UnixDatagram::bind(env.path("log")).unwrap();
        log.set_nonblocking(true).unwrap();
        Self(log)
    }

    fn lines(&self) -> String {
        let mut buffer = [0; 9000];
        let mut lines = String::new();
        while let Ok(count) = self.0.recv(&mut buffer) {
            lines.push_str(&String::from_utf8_lossy(&buffer[..count]));
            lines.push('\n');
        }
        lines
    }
}

#[test]
fn what_a_person_does_to_points_stands_in_the_log_with_that_person() {
    let env = golden();
    let log = Log::of(&env);
    let who = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    let acts = [
        ("protect", "protect --notes audit", "protected"),
        ("unprotect", "unprotect", "not protected"),
        ("delete", "delete --yes", "hidden; newer points need its images"),
    ];
    for (command, words, done) in acts {
        let words = format!("{words} --path REPO --vmid 100 --time {FIRST}");
        env.run(&words).exits(0).says(&[&format!("point daily {FIRST} of guest 100: {done}")]);
        let lines = log.lines();
        let line = lines.lines().find(|line| line.contains(FIRST) && line.contains(done));
        let line = line.unwrap_or_else(|| panic!("{command}: {lines}"));
        assert!(line.starts_with("<30>") && line.contains(" pve-ferry["), "{line}");
        assert!(line.contains(&format!("{command} daily: guest 100")), "{line}");
        assert!(line.contains(", by ") && line.contains(&who), "{line}");
    }
    // A refusal, too.
    env.run("protect --path REPO --vmid 100 --time latest").exits(0);
    log.lines();
    env.run("delete --path REPO --vmid 100 --time latest --yes").exits(1).complains(&["protected"]);
    let lines = log.lines();
    assert!(
        lines.contains("<27>") && lines.contains("is protected; unprotect it first"),
        "{lines}"
    );
    assert!(lines.contains("[FAILED] pve-ferry delete"), "{lines}");
    // What was not agreed to was not done by anybody.
    env.run("unprotect --path REPO --vmid 100 --time latest").exits(0);
    log.lines();
    env.run("delete --path REPO --vmid 100 --time latest").exits(2);
    assert_eq!(log.lines(), "");
}

#[test]
fn without_a_system_log_a_person_can_act_all_the_same() {
    let env = golden();
    let said = env.run(&format!("protect --path REPO --vmid 100 --time {FIRST}")).exits(0);
    assert_eq!(said.stderr, "");
    let said = env.run(&format!("protect --path REPO --vmid 100 --time {FIRST} --syslog")).exits(0);
    said.complains(&["warning: not told: "]);
}

#[test]
fn every_command_tells_those_who_want_to_hear_and_acts_write_no_metrics() {
    for (command, words, _) in COMMANDS {
        let env = env_of(command);
        // To begin a repository is a warning.
        fs::create_dir_all(env.path("second/pve-ferry")).unwrap();
        let log = Log::of(&env);
        fs::create_dir_all(env.path("etc/pve-ferry")).unwrap();
        let metrics = env.path("metrics");
        fs::create_dir(&metrics).unwrap();
        let text = format!("prometheus: node\n\tdirectory {}\n", metrics.display());
        fs::write(env.path("etc/pve-ferry/notify.cfg"), text).unwrap();
        env.run(&format!("{words} --mail ops@a.example")).exits(0);
        let mails = fs::read_to_string(env.path("state/mails")).unwrap();
        assert!(mails.contains(&format!("Subject: [OK] pve-ferry {command} ")), "{mails}");
        let is_job = matches!(command, "copy" | "verify");
        assert_eq!(log.lines().is_empty(), is_job, "{command}");
        assert_eq!(fs::read_dir(&metrics).unwrap().count(), usize::from(is_job), "{command}");
    }
}

#[test]
fn the_removal_of_a_protected_snapshot_has_one_pair_of_hooks_and_a_no_leaves_its_protection() {
    let env = with_hook("[ \"$1\" != snap-remove-pre ]");
    let backup = "backup --vmid 100 --label daily --path REPO --protect-snap --jobs 1";
    env.run(backup).exits(0);
    let snaps = env.path("rbd/rbd/vm-100-disk-0/snaps");
    let before = fs::read_to_string(&snaps).unwrap();
    assert!(before.trim_end().ends_with(" true"), "{before}");
    let said = env.run(&format!("reset --vmid 100 --path REPO --yes {HOOK}")).exits(1);
    said.says(&["nothing was changed", "stopped it in phase snap-remove-pre"]);
    assert_eq!(fs::read_to_string(&snaps).unwrap(), before);
    // After the commit of a backup it is a warning, and the next run tries again.
    env.run(&format!("{backup} {HOOK}")).exits(0).says(&["the next run tries again"]);
    let text = fs::read_to_string(&snaps).unwrap();
    assert!(text.starts_with(before.trim_end()), "{text}");
    env.run(backup).exits(0);
    assert_eq!(env.snapshots("vm-100-disk-0").len(), 1);
}
