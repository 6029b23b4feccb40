//! Jobs as a user makes, changes, runs and loses them; what a node does with them; and `status`.
//! Cron itself is in the lab.

use crate::env::{Env, Said};
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

const CREATE: &str = "job create --vmid 100 --label daily --path REPO --jobs 1 --threads 1";

fn cron(env: &Env) -> String {
    fs::read_to_string(env.path("cron.d/pve-ferry")).unwrap_or_default()
}

fn cfg(env: &Env) -> String {
    fs::read_to_string(env.path("etc/pve-ferry/jobs.cfg")).unwrap_or_default()
}

fn silent(said: &Said) {
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""), "{said:#?}");
}

#[test]
fn a_job_is_made_as_barc_users_type_it_and_stands_in_both_files() {
    let env = Env::with_disks(1);
    let said = env.run(&format!("{CREATE} --keep=5 --qemu-freeze --iothreads 3")).exits(0);
    said.says(&["job backup-daily created", "every day at 00:00", "next "])
        .complains(&["--qemu-freeze"]);
    let repository = env.path("repository").display().to_string();
    let expected = format!(
        "backup: backup-daily\n\tschedule daily\n\tvmid 100\n\tlabel daily\n\tpath {repository}\n\tkeep 5\n\tjobs 1\n\tthreads 1\n\tiothreads 3\n"
    );
    assert_eq!(cfg(&env), expected);
    let line = "\n0 0 * * * root pve-ferry job run backup-daily --scheduled\n";
    assert!(cron(&env).contains(line), "{}", cron(&env));
    // The same again is a conflict, unless it has a name of its own.
    env.run(&format!("{CREATE} --keep=5 --iothreads 3"))
        .exits(13)
        .complains(&["backup-daily", "nothing was changed"]);
    env.run(&format!("{CREATE} --keep=5 second --schedule hourly")).exits(0);
    env.run(&format!("{CREATE} second")).exits(13).complains(&["job set second"]);
    assert_eq!(env.order(), "\n", "no command was run");
}

#[test]
fn jobs_are_found_by_their_words_changed_disabled_and_destroyed() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    env.run("job disable --vmid 100 --label daily").exits(0).says(&["disabled"]);
    assert!(cfg(&env).contains("\tenabled 0\n") && !cron(&env).contains("job run"));
    env.run("job list").exits(0).says(&["disabled", "backup-daily"]);
    env.run("job enable backup-daily").exits(0);
    assert!(cron(&env).contains("job run backup-daily"));
    env.run("job set backup-daily --schedule 30_2_*_*_* ").exits(2).complains(&["schedule"]);
    env.run("job set --vmid 100 --label daily --renew 7 --schedule weekly").exits(0);
    env.run("job show backup-daily").exits(0).says(&[
        "renew 7",
        "every week on Sunday",
        "0 0 * * 0 root",
    ]);
    env.run("job set backup-daily --delete renew,threads").exits(0);
    assert!(!cfg(&env).contains("renew") && !cfg(&env).contains("threads"));
    env.run("job set backup-daily --keep 0").exits(2);
    env.run("job set backup-daily").exits(2).complains(&["nothing to change"]);
    env.run("job set nobody --keep 1").exits(4).complains(&["nobody", "backup-daily"]);
    env.run(&format!("{CREATE} twin")).exits(0);
    env.run("job destroy --vmid 100 --label daily").exits(13).complains(&["backup-daily, twin"]);
    env.run("job destroy twin").exits(0).says(&["what it saved stays"]);
    env.run("job destroy backup-daily --path x").exits(2);
    env.run("job destroy --vmid 100 --label daily --path REPO/").exits(0);
    assert_eq!(cfg(&env), "");
    env.run("job list").exits(0).says(&["no jobs"]);
}

#[test]
fn a_run_saves_and_is_noted_and_a_scheduled_one_is_silent_when_all_is_well() {
    let env = Env::with_guest();
    env.run(CREATE).exits(0);
    env.run("job run backup-daily").exits(0).says(&["guest 100 web100 on pve1: ok"]);
    silent(&env.run("job run backup-daily --scheduled").exits(0));
    let list = env.run("list --path REPO --json").json();
    assert_eq!(list["restore_points"].as_array().unwrap().len(), 2);
    let jobs = env.run("job list --json").exits(0).json();
    let job = &jobs["jobs"][0];
    assert_eq!((&job["last_run"]["exit_code"], &job["running"]), (&json!(0), &json!(false)));
    assert_eq!(job["guests"][0]["vmid"], json!(100));
    assert!(job["guests"][0]["good_age_seconds"].as_i64().unwrap() < 600, "{job:#}");
    assert!(
        job["next_run"].is_string()
            && job["command"].as_str().unwrap().starts_with("pve-ferry backup")
    );
    env.run("job list").exits(0).says(&["every day at 00:00", "each guest's", " ok", "web100"]);
    env.assert_expected();
}

#[test]
fn a_scheduled_run_that_fails_says_all_and_is_remembered() {
    let env = Env::with_guest();
    env.run(CREATE).exits(0);
    fs::rename(env.path("repository"), env.path("away")).unwrap();
    let said = env.run("job run backup-daily --scheduled").exits(10);
    said.says(&["error:", "must exist", "job backup-daily ended with 10: repository missing"]);
    let job = env.run("job list --json").json()["jobs"][0].clone();
    assert_eq!(job["last_run"]["exit_code"], json!(10));
    assert!(job["last_run"]["message"].as_str().unwrap().contains("must exist"), "{job:#}");
    assert!(job["guests_error"].is_string(), "ages are unknown, not none: {job:#}");
    env.run("job list").exits(0).says(&["repository missing", "unknown"]);
}

#[test]
fn words_that_this_version_does_not_know_are_a_run_that_failed() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    let text = cfg(&env) + "\tfrom-the-future 1\n";
    fs::write(env.path("etc/pve-ferry/jobs.cfg"), &text).unwrap();
    env.run("job run backup-daily --scheduled").exits(2).says(&["from-the-future"]);
    // It is said before it fails at night, and by whoever watches.
    let line = text.lines().count();
    let why = format!("line {line}: option from-the-future is unknown; known are vmid, label");
    env.run("job list").exits(3).says(&[&format!("job backup-daily cannot run: {why}")]);
    let status = env.run("status --json");
    let problems = status.json()["problems"].to_string();
    assert!(problems.contains(&why), "{problems}");
    assert_eq!(status.json()["guests"][0]["jobs"], json!([]));
    for (option, why) in
        [("keep many", "a number from 0"), ("dry-run", "dry-run"), ("json yes", "flag")]
    {
        fs::write(env.path("etc/pve-ferry/jobs.cfg"), text.replace("from-the-future 1", option))
            .unwrap();
        env.run("job list").exits(3).says(&["cannot run: line", why]);
    }
    fs::write(env.path("etc/pve-ferry/jobs.cfg"), &text).unwrap();
    assert_eq!(env.run("job list --json").json()["jobs"][0]["last_run"]["exit_code"], json!(2));
}

#[test]
fn a_job_that_is_gone_disabled_or_another_nodes_ends_silently() {
    let env = Env::with_disks(1);
    let silently = |name: &str| silent(&env.run(&format!("job run {name} --scheduled")).exits(0));
    silently("never-was");
    env.run(CREATE).exits(0);
    // Jobs of another node's making: the file changes, this node's cron file does not yet.
    let text = cfg(&env).replace("\tschedule daily\n", "\tschedule daily\n\tenabled 0\n");
    fs::write(env.path("etc/pve-ferry/jobs.cfg"), text).unwrap();
    silently("backup-daily");
    assert!(!cron(&env).contains("job run"), "what is outdated was rendered anew");
    env.run("job set backup-daily --delete disabled --node pve2").exits(0);
    silently("backup-daily");
    fs::write(env.path("etc/pve-ferry/jobs.cfg"), "").unwrap();
    silently("backup-daily");
    // By hand, a job that is not there is an error.
    env.run("job run backup-daily").exits(4);
    // Guests of other nodes are theirs to save.
    env.run(CREATE).exits(0);
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/100.conf"));
    fs::rename(conf("pve1"), conf("pve2")).unwrap();
    silently("backup-daily");
    assert_eq!(env.run("list --path REPO --json").json()["restore_points"], json!([]));
    assert_eq!(env.order(), "\n", "no command was run");
    // And that node saves them.
    fs::remove_file(env.path("etc/local")).unwrap();
    std::os::unix::fs::symlink("nodes/pve2", env.path("etc/local")).unwrap();
    silently("backup-daily");
    let points = env.run("list --path REPO --json").json();
    assert_eq!(points["restore_points"][0]["node"], json!("pve2"));
}

#[test]
fn a_job_whose_guests_are_all_gone_is_not_silent() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    fs::remove_file(env.path("etc/nodes/pve1/qemu-server/100.conf")).unwrap();
    env.run("job run backup-daily --scheduled").exits(4).says(&["nothing selected"]);
}

#[test]
fn a_cluster_file_system_that_is_not_mounted_is_not_a_cluster_without_jobs() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    let before = cron(&env);
    fs::rename(env.path("etc"), env.path("etc-away")).unwrap();
    fs::create_dir(env.path("etc")).unwrap();
    env.run("job run backup-daily --scheduled").exits(1).complains(&["not mounted"]);
    env.run("job render").exits(1).complains(&["not mounted"]);
    assert_eq!(cron(&env), before);
    env.run("status").exits(3).says(&["PVE-FERRY UNKNOWN", "not mounted"]);
}

#[test]
fn jobs_that_meet_queue_for_the_guest_and_say_for_whom_they_wait() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    env.run("job create --vmid 100 --label hourly --path REPO --jobs 1 --threads 1").exits(0);
    env.spoil("match export-diff\npause 3\nonce\n");
    let first = env.spawn("job run backup-daily --scheduled");
    env.wait_for("export-diff");
    let second = env.spawn("job run backup-hourly --scheduled --debug");
    // By hand nobody waits unasked, and the same job twice at once is one too many.
    env.run("backup --vmid 100 --label x --path REPO --jobs 1 --threads 1").exits(11);
    env.run("job run backup-daily --scheduled").exits(11).complains(&["still under way"]);
    env.run("job list").exits(0).says(&["running since"]);
    silent(&first.ends().exits(0));
    second.ends().exits(0).complains(&["waits for backup on host", "which works on"]);
    assert_eq!(
        env.run("list --path REPO --json").json()["restore_points"].as_array().unwrap().len(),
        2
    );
}

#[test]
fn a_run_that_waits_hears_the_wish_to_stop() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    env.run("job create prune --operation prune --path REPO --retain 3").exits(0);
    env.run("job run backup-daily").exits(0);
    env.forget();
    env.spoil("match export-diff\npause 8\nonce\n");
    fs::create_dir(env.path("second")).unwrap();
    let holder = env.spawn("job run backup-daily --scheduled");
    env.wait_for("export-diff");
    let backup = env.spawn("backup --vmid 100 --label x --path REPO --lock-wait 60");
    let prune = env.spawn("job run prune --scheduled");
    env.run("copy --from REPO --to DIR/second").exits(11);
    env.run("verify --source --path REPO").exits(11);
    let copy = env.spawn("copy --from REPO --to DIR/second --lock-wait 60");
    let compare = env.spawn("verify --source --path REPO --lock-wait 60");
    let points = env.run("list --path REPO --json").json()["restore_points"].clone();
    let time = points[0]["time"].as_str().unwrap();
    let one = format!("--vmid 100 --path REPO --time {time} --lock-wait 60");
    let delete = env.spawn(&format!("delete {one} --yes"));
    let protect = env.spawn(&format!("protect {one}"));
    let assemble = env.spawn(&format!("assemble {one} --disk scsi0 --output DIR/image"));
    std::thread::sleep(std::time::Duration::from_millis(2500));
    for waiting in [&backup, &prune, &copy, &compare, &delete, &protect, &assemble] {
        nix::sys::signal::kill(waiting.pid(), nix::sys::signal::SIGTERM).unwrap();
    }
    backup
        .ends()
        .exits(130)
        .complains(&["waits for backup on host"])
        .says(&["stopped while it waited"]);
    prune.ends().exits(130).says(&[
        "waits for backup on host",
        "stopped while it waited",
        "interrupted",
    ]);
    for waiting in [copy, compare] {
        let said = waiting.ends().exits(130).complains(&["waits for backup on host"]);
        said.says(&["guest 100", "FAILED", "stopped while it waited for backup on host"]);
    }
    for waiting in [delete, protect, assemble] {
        let said = waiting.ends().exits(130).complains(&["waits for backup on host"]);
        let text = format!("{}{}", said.stdout, said.stderr);
        assert!(text.contains("stopped while it waited for backup on host"), "{text}");
    }
    assert!(!env.path("image").exists(), "nothing was assembled");
    let stays = env.run("list --path REPO --json").json()["restore_points"].clone();
    assert_eq!(stays[0], points[0], "neither deleted nor protected");
    assert_eq!(fs::read_dir(env.path("second")).unwrap().count(), 0);
    silent(&holder.ends().exits(0));
    assert_eq!(env.run("job list --json").json()["jobs"][1]["last_run"]["exit_code"], json!(130));
}

#[test]
fn an_edit_by_hand_is_said_and_kept_and_a_damaged_section_harms_no_other_job() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    let edited = cron(&env).replace("0 0 * * *", "0 5 * * *");
    fs::write(env.path("cron.d/pve-ferry"), &edited).unwrap();
    env.run("job render").exits(0).complains(&["edited by hand", "pve-ferry.edited"]);
    assert_eq!(fs::read_to_string(env.path("cron.d/pve-ferry.edited")).unwrap(), edited);
    silent(&env.run("job render").exits(0));
    let text = cfg(&env) + "\nbackup: broken\n\tschedule sometimes\n";
    fs::write(env.path("etc/pve-ferry/jobs.cfg"), text).unwrap();
    env.run("job render").exits(3).complains(&["broken", "sometimes"]);
    assert!(
        cron(&env).contains("job run backup-daily") && cron(&env).contains("# broken: cannot run")
    );
    silent(&env.run("job render").exits(0));
    env.run("job run broken --scheduled").exits(2).complains(&["broken", "jobs.cfg"]);
    env.run("job list").exits(3).says(&["broken cannot run"]);
    env.run("job destroy broken").exits(0);
    env.run("job list").exits(0);
}

#[test]
fn what_is_different_in_the_cron_file_is_said_by_list_and_status_until_it_is_rendered() {
    let env = Env::with_disks(1);
    let file = env.path("cron.d/pve-ferry");
    // A node without jobs has nothing to lose.
    fs::write(&file, "mine\n").unwrap();
    assert!(env.run("job list --json").exits(0).json()["cron_file"].is_null());
    env.run("status").exits(1);
    fs::remove_file(&file).unwrap();
    env.run(CREATE).exits(0);
    env.run("job create --vmid 100 --label hourly --path REPO").exits(0);
    env.run("job run backup-daily").exits(0);
    env.run("status").exits(0).says(&["PVE-FERRY OK"]);
    let right = cron(&env);
    let listed = |state: &str, status: &str, not_run: &[&str]| {
        let code = if not_run.is_empty() { 0 } else { 3 };
        let found = env.run("job list --json").exits(code).json()["cron_file"].clone();
        assert_eq!((&found["state"], &found["status"]), (&json!(state), &json!(status)));
        assert_eq!(found["not_run"], json!(not_run), "{found:#}");
    };
    let line = "0 0 * * * root pve-ferry job run backup-daily --scheduled\n";
    let render = "*/5 * * * * root pve-ferry job render --quiet\n";
    // The line that would undo the edit goes, too.
    fs::write(&file, right.replace(line, "").replace(render, "")).unwrap();
    let words = [
        "cron.d/pve-ferry was edited by hand",
        "job backup-daily has no line: it does not run",
        "`job render` has no line: this file does not follow jobs.cfg",
        "`pve-ferry job render` makes it right",
    ];
    env.run("job list").exits(3).says(&words);
    let said = env.run("status").exits(2).says(&words);
    let first = said.stdout.lines().next().unwrap();
    assert!(first.starts_with("PVE-FERRY CRITICAL - 1 of 1 guests"), "{first}");
    assert!(first.contains("job backup-daily has no line: it does not run; "), "{first}");
    assert!(first.contains("... | guests=1 good=1 critical=0"), "{first}");
    listed("edited", "critical", &["backup-daily"]);
    let problems = env.run("status --json --label other").exits(2).json()["problems"].clone();
    assert!(problems[0].as_str().unwrap().contains("job backup-daily has no line"), "{problems}");
    // Another time: the job runs, but not when it should.
    fs::write(&file, right.replace("\n0 0 * * *", "\n0 5 * * *")).unwrap();
    let other = ["job backup-daily: line ", " has `0 5 * * *`, not `0 0 * * *`"];
    env.run("job list").exits(0).says(&other);
    env.run("status").exits(1).says(&["PVE-FERRY WARNING - 1 of 1 guests"]).says(&other);
    listed("edited", "warning", &[]);
    fs::remove_file(&file).unwrap();
    env.run("status").exits(2).says(&["cron.d/pve-ferry is not there", "job render"]);
    listed("missing", "critical", &["backup-daily", "backup-hourly"]);
    env.run("job render").exits(0);
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    mode(0o666);
    env.run("status").exits(2).says(&["cron passes", "others than root may write to it"]);
    listed("refused", "critical", &["backup-daily", "backup-hourly"]);
    env.run("job render").exits(0);
    env.run("status").exits(0);
    assert!(env.run("job list --json").exits(0).json()["cron_file"].is_null());
    assert_eq!(cron(&env), right);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    env.run("status").exits(3).says(&["cron.d/pve-ferry cannot be read: Is a directory"]);
    env.run("job list").exits(0).says(&["cron.d/pve-ferry cannot be read\n  Is a directory"]);
    env.assert_expected();
}

#[test]
fn a_cron_file_older_than_jobs_cfg_is_an_alarm_only_when_no_look_renders_it() {
    let env = Env::with_disks(1);
    env.run(CREATE).exits(0);
    env.run("job run backup-daily").exits(0);
    // Another node makes a job.
    let path = env.path("etc/pve-ferry/jobs.cfg");
    let second = cfg(&env).replacen("backup: backup-daily", "backup: second", 1);
    fs::write(&path, format!("{}\n{second}", cfg(&env))).unwrap();
    env.run("status").exits(0);
    env.run("job list")
        .exits(0)
        .says(&["this node looks every 5 minutes", "job second has no line"]);
    let file = fs::File::options().write(true).open(&path).unwrap();
    let hour = std::time::Duration::from_secs(3600);
    file.set_modified(std::time::SystemTime::now() - hour).unwrap();
    env.run("status").exits(2).says(&["does cron run?", "job second has no line"]);
    env.run("job render").exits(0);
    env.run("status").exits(0);
}

#[test]
fn metrics_of_a_job_that_is_gone_or_another_nodes_go_with_it() {
    let env = Env::with_disks(1);
    let metrics = env.path("metrics");
    fs::create_dir(&metrics).unwrap();
    fs::create_dir_all(env.path("etc/pve-ferry")).unwrap();
    let section = format!("prometheus: node\n\tdirectory {}\n", metrics.display());
    fs::write(env.path("etc/pve-ferry/notify.cfg"), section).unwrap();
    let files = || {
        let entries = fs::read_dir(&metrics).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    env.run(CREATE).exits(0);
    for name in ["second", "third", "fourth", "fifth"] {
        env.run(&format!("{CREATE} {name}")).exits(0);
        env.run(&format!("job run {name}")).exits(0);
    }
    // Runs of a person, and what others wrote or only looks like ours.
    env.run("backup --vmid 100 --label second --path REPO --jobs 1 --threads 1").exits(0);
    let ours = fs::read_to_string(metrics.join("pve-ferry_backup_third.prom")).unwrap();
    assert!(ours.contains("operation=\"backup\",job=\"third\""), "{ours}");
    let foreign = [
        ("pve-ferry_backup_gone.prom", "# mine\n".to_owned()),
        ("pve-ferry_backup_copied.prom", ours.clone()),
        ("node.prom", ours),
    ];
    for (name, text) in &foreign {
        fs::write(metrics.join(name), text).unwrap();
    }
    // The person's run took the place of the job's, whose name is its label.
    let stay = ["node.prom", "pve-ferry_backup_copied.prom"];
    let with = |names: &[&str]| {
        let mut all: Vec<String> =
            names.iter().map(|name| format!("pve-ferry_backup_{name}.prom")).collect();
        all.extend(stay.map(str::to_owned));
        all.sort();
        all
    };
    assert_eq!(files(), with(&["fifth", "fourth", "gone", "second", "third"]));
    silent(&env.run("job render").exits(0));
    assert_eq!(files(), with(&["fifth", "fourth", "gone", "second", "third"]));
    env.run("job disable fifth").exits(0);
    env.run("job destroy second").exits(0);
    env.run("job destroy third").exits(0);
    assert_eq!(files(), with(&["fifth", "fourth", "gone", "second"]), "a disabled job's stay");
    // Another node moves one, breaks one, and renames one.
    let path = env.path("etc/pve-ferry/jobs.cfg");
    let text = cfg(&env).replace("backup: fourth\n", "backup: fourth\n\tnode pve2\n");
    fs::write(
        &path,
        text.replace("backup: fifth\n", "backup: fifth\n\tno-such-thing\n\tschedule x\n"),
    )
    .unwrap();
    env.run("job render").exits(3);
    assert_eq!(files(), with(&["fifth", "gone", "second"]), "what cannot be read is still a job");
    fs::write(&path, cfg(&env).replace("backup: fifth\n", "backup: sixth\n")).unwrap();
    env.run("job render").exits(3);
    assert_eq!(files(), with(&["gone", "second"]));
    // The last of its guests leaves this node.
    env.run("job run backup-daily").exits(0);
    assert_eq!(files(), with(&["backup-daily", "gone", "second"]));
    let conf = |node: &str| env.path(&format!("etc/nodes/{node}/qemu-server/100.conf"));
    fs::rename(conf("pve1"), conf("pve2")).unwrap();
    silent(&env.run("job render").exits(0));
    assert_eq!(files(), with(&["gone", "second"]));
}

#[test]
fn without_cron_a_job_is_defined_and_the_user_told_that_nothing_runs_it() {
    let env = Env::with_disks(1);
    fs::remove_dir(env.path("cron.d")).unwrap();
    env.run(CREATE).exits(1).complains(&["jobs.cfg was changed", "install cron"]);
    assert!(cfg(&env).contains("backup: backup-daily"));
}

#[test]
fn secrets_and_words_that_cannot_stand_in_the_file_are_refused() {
    let env = Env::with_disks(1);
    env.run(&format!("{CREATE} --dry-run")).exits(2).complains(&["--dry-run"]);
    env.run("job create --operation list --path REPO")
        .exits(2)
        .complains(&["backup, prune, verify"]);
    env.run("job create --vmid 100 --label daily").exits(2).complains(&["--path"]);
    env.run("job create --vmdi 100").exits(2).complains(&["--vmid"]);
    env.run("job create --help").exits(0).says(&["--schedule", "--vmid", "Examples:"]);
    env.run("job set --help").exits(0).says(&["--delete"]);
    assert_eq!(cfg(&env), "");
}

#[test]
fn what_only_holds_in_the_shell_of_who_makes_a_job_is_not_kept() {
    let env = Env::with_guest();
    let sink = "--influxurl http://127.0.0.1:1 --influxbucket b";
    // The program runs in the directory of this source tree.
    let here = env!("CARGO_MANIFEST_DIR");
    let words = "job create --vmid 100 --label daily --path target/../x --script h.sh";
    let said = env
        .run(&format!("{words} --hook-compat barc {sink} --influxtoken env:SECRET_TOKEN"))
        .exits(0);
    said.complains(&["no hook", "h.sh on this node now: runs go on without it", "no directory"]);
    let text = cfg(&env);
    assert!(text.contains(&format!("\tpath {here}/target/../x\n")), "{text}");
    assert!(text.contains(&format!("\tscript {here}/h.sh\n")), "{text}");
    let token = text.lines().find_map(|line| line.trim().strip_prefix("influxtoken file:"));
    assert_eq!(fs::read_to_string(token.unwrap()).unwrap().trim(), "hunter22");
    env.run("job set --vmid 100 --label daily --path target/../x --script other.sh").exits(0);
    assert!(cfg(&env).contains(&format!("\tscript {here}/other.sh\n")), "{}", cfg(&env));
    env.run("job disable --vmid 100 --label daily --path target/../x").exits(0);
    let login = "--host a --api-token file:t --ca-file ca.pem";
    env.run(&format!("job create --operation snapshot --vmid all --label x --keep 1 {login}"))
        .exits(0);
    env.run("job create c --operation copy --from a --to b --schedule daily").exits(0);
    for line in ["api-token file:HERE/t", "ca-file HERE/ca.pem", "from HERE/a", "to HERE/b"] {
        let line = format!("\t{}\n", line.replace("HERE", here));
        assert!(cfg(&env).contains(&line), "{line:?} in {}", cfg(&env));
    }
    let said = env.run(&format!("job set c {sink} --influxtoken hunter22")).exits(2);
    assert!(!said.stderr.contains("hunter22"), "{said:#?}");
}

#[test]
fn a_script_of_barc_that_is_gone_is_said_by_the_run_that_goes_on_without_it() {
    let env = Env::with_guest();
    let repository = env.path("repository").display().to_string();
    let line = format!(
        "0 0 * * * root eve4pve-barc backup --vmid=100 --label=daily --path={repository} --script=/none/h.sh\n"
    );
    fs::write(env.path("cron.d/eve4pve-barc"), line).unwrap();
    env.run("job import").exits(0).says(&["there is no hook /none/h.sh now"]);
    env.run("job run backup-daily --scheduled")
        .exits(0)
        .says(&["warning: there is no hook /none/h.sh: it is called in no phase"]);
}

#[test]
fn barcs_cron_file_is_imported_with_the_options_that_its_parser_lost() {
    let env = Env::with_disks(1);
    let repository = env.path("repository").display().to_string();
    let text = format!(
        "#Cron file for eve4pve-barc\nSHELL=/bin/sh\nPATH=/bin\n\n\
         0 * * * * root eve4pve-barc backup --vmid=100 --label='hourly' --path='{repository}' --keep=5 \
         --compress=pigz --compressthreads=2 --iothreads=4 --unprotect-snap\n\
         #0 0 * * * root eve4pve-barc backup --vmid=all --label='daily' --path='{repository}' --renew=2w\n\
         0 3 * * * root cv4pve-autosnap --host=a --api-token='root@pam!x=0000-secret' --vmid=all snap --label=x --keep=3\n"
    );
    fs::write(env.path("cron.d/eve4pve-barc"), &text).unwrap();
    let said = env.run("job import --dry-run").exits(0);
    said.says(&["would be job backup-hourly"]);
    assert_eq!(cfg(&env), "");
    let said = env.run("job import").exits(0).says(&[
        "eve4pve-barc:5 (eve4pve-barc): is now job backup-hourly",
        "backup-daily: backup disabled",
        "--renew 2w means weeks here",
        "is now job snapshot-x: snapshot every day at 03:00",
        "take them out",
    ]);
    assert!(!said.stdout.contains("0000-secret") && !cfg(&env).contains("0000-secret"));
    let jobs = env.run("job list --json").json();
    let hourly = &jobs["jobs"][0];
    assert_eq!(hourly["options"]["threads"], json!("2"));
    assert_eq!(hourly["options"]["iothreads"], json!("4"));
    assert_eq!((&hourly["node"], &hourly["schedule"]), (&json!("pve1"), &json!("0 * * * *")));
    assert_eq!(jobs["jobs"][1]["enabled"], json!(false));
    // Their file is only read, and a second import makes nothing twice.
    assert_eq!(fs::read_to_string(env.path("cron.d/eve4pve-barc")).unwrap(), text);
    env.run("job import").exits(0).says(&["job backup-hourly does the same already"]);
    assert_eq!(env.run("job list --json").json()["jobs"].as_array().unwrap().len(), 3);
    env.run("job import DIR/none").exits(2);
    env.run("job run backup-hourly --scheduled").exits(0);
}

#[test]
fn a_dry_import_names_the_jobs_that_the_import_makes_and_what_is_left_out_of_them() {
    let env = Env::with_disks(1);
    let line = "eve4pve-barc backup --vmid=100 --label=daily --path=/none/bck";
    let text = format!(
        "MAILTO=ops@b.example\n0 1 * * * root nice {line}\n0 2 * * * root {line}\n0 2 * * * root {line}\n\
         15 4 * * * root bash -c \"{line}\"\n"
    );
    fs::write(env.path("cron.d/barc"), text).unwrap();
    let said = |words: &str| {
        let said = env.run(words).exits(3).stdout;
        said.replace("would be job", "is now job").lines().take(9).map(str::to_owned).collect()
    };
    let (dry, real): (Vec<String>, Vec<String>) = (said("job import -n"), said("job import"));
    assert_eq!(dry, real);
    let all = dry.join("\n");
    for part in [
        "barc:2 (eve4pve-barc): is now job backup-daily: ",
        "left out: nice",
        "MAILTO=ops@b.example does not hold",
        "barc:3 (eve4pve-barc): is now job backup-daily-2: ",
        "warning: /none/bck is no directory on this node now",
        "barc:4 (eve4pve-barc): job backup-daily-2 does the same already",
        "barc:5 (eve4pve-barc): NOT imported: it names eve4pve-barc inside of",
    ] {
        assert!(all.contains(part), "{part:?} in {all}");
    }
}

#[test]
fn timers_of_verify_and_prune_are_switched_by_their_jobs() {
    let env = Env::with_disks(1);
    env.run("job create check --operation verify --path REPO --mark --systemd").exits(0);
    assert!(!cron(&env).contains("job run check"));
    let log = env.order();
    assert!(log.contains("systemctl enable --now --quiet pve-ferry-verify@check.timer"), "{log}");
    env.run("job show check").exits(0).says(&["pve-ferry-verify@check.timer"]);
    let wants = env.path("systemd/timers.target.wants");
    fs::create_dir_all(&wants).unwrap();
    fs::write(wants.join("pve-ferry-verify@check.timer"), "").unwrap();
    env.forget();
    env.run("job disable check").exits(0);
    let log = env.order();
    // Its service never failed, so that systemctl knows of nothing to forget: no error of ours.
    let off = "systemctl disable --now --quiet pve-ferry-verify@check.timer\nsystemctl reset-failed pve-ferry-verify@check.service\n";
    assert!(log.contains(off), "{log}");
    fs::write(wants.join("pve-ferry-verify@check.timer"), "").unwrap();
    let failed = env.path("state/units/pve-ferry-verify@check");
    fs::create_dir_all(&failed).unwrap();
    fs::write(failed.join("failed"), "").unwrap();
    env.run("job destroy check").exits(0);
    assert!(!failed.join("failed").exists(), "a job that is gone stays in `systemctl --failed`");
    env.run("job create --operation verify --path REPO --systemd --schedule daily").exits(2);
    env.run(&format!("{CREATE} --systemd")).exits(2).complains(&["--systemd"]);
    env.assert_expected();
}

#[test]
fn status_says_who_is_covered_in_nagios_words() {
    let env = Env::with_disks(1);
    env.add_guest(101, 0);
    env.run("status").exits(1).says(&[
        "PVE-FERRY WARNING - 0 of 2",
        "2 in no job",
        "no good point, in no job",
    ]);
    env.run(CREATE).exits(0);
    let said = env.run("status").exits(2);
    assert!(said.stdout.starts_with("PVE-FERRY CRITICAL - 0 of 2 guests"), "{said:#?}");
    env.run("job run backup-daily --scheduled").exits(0);
    let status = env.run("status --json").exits(1).json();
    let of = |n: usize| (&status["guests"][n]["status"], &status["guests"][n]["jobs"]);
    assert_eq!(of(0), (&json!("ok"), &json!(["backup-daily"])));
    assert_eq!(of(1), (&json!("warning"), &json!([])));
    assert!(status["guests"][0]["verified_point"].is_null());
    env.run("verify --path REPO --mark").exits(0);
    assert!(env.run("status --json").json()["guests"][0]["verified_point"].is_string());
    env.run("status --label hourly").exits(1).says(&["2 in no job"]);
    env.run("status --max-age 26h").exits(1);
    env.run("status --max-age soon").exits(2).complains(&["soon", "26h"]);
    // Points of a guest that had the number before are no comfort.
    let conf = env.path("etc/nodes/pve1/qemu-server/100.conf");
    let other = fs::read_to_string(&conf).unwrap().replace("uuid=00000000", "uuid=11111111");
    fs::write(&conf, other).unwrap();
    env.run("status").exits(2).says(&["no good point"]);
    // So are those of a container that was made again under its number and name, on another volume.
    let ct = env.path("etc/nodes/pve1/lxc/200.conf");
    fs::create_dir_all(env.path("rbd/rbd/vm-200-disk-0")).unwrap();
    fs::write(env.path("rbd/rbd/vm-200-disk-0/facts"), "20000abcdef\n262144\n0\n").unwrap();
    fs::write(env.path("rbd/rbd/vm-200-disk-0/head"), crate::env::content(9)).unwrap();
    fs::write(&ct, "hostname: ct\nrootfs: ceph:vm-200-disk-0,size=256K\n").unwrap();
    env.run("backup --vmid 200 --label daily --path REPO --jobs 1 --threads 1").exits(0);
    let of_container = || {
        let status = env.run("status --json").exits(2).json();
        let guests = status["guests"].as_array().unwrap().clone();
        guests.into_iter().find(|guest| guest["vmid"] == json!(200)).unwrap()["status"].clone()
    };
    assert_eq!(of_container(), json!("ok"));
    fs::write(&ct, "hostname: ct\nrootfs: ceph:vm-200-disk-1,size=256K\n").unwrap();
    assert_eq!(of_container(), json!("warning"));
    // A repository that is away is unknown, and says so in the first line.
    fs::rename(env.path("repository"), env.path("away")).unwrap();
    let said = env.run("status").exits(3);
    assert!(said.stdout.lines().next().unwrap().contains("cannot be read"), "{said:#?}");
}

#[test]
fn a_guest_whose_disks_are_all_left_out_is_well_without_a_point() {
    let env = Env::with_disks(2);
    env.run(CREATE).exits(0);
    let conf = env.path("etc/nodes/pve1/qemu-server/100.conf");
    let text = fs::read_to_string(&conf).unwrap();
    fs::write(&conf, text.replace(",size=256K", ",size=256K,backup=0")).unwrap();
    env.run("job run backup-daily --scheduled").exits(0);
    let said = env.run("status").exits(0);
    let first = "PVE-FERRY OK - 0 of 1 guests have a good point that is new enough, 1 with nothing to save |";
    let said = said.says(&[first, "nothing to save: every disk is backup=0"]);
    assert!(said.stdout.contains(" good=0 critical=0 warning=0 unknown=0 nojob=0\n"), "{said:#?}");
    assert_eq!(env.run("status --json").json()["guests"][0]["status"], json!("ok"));
    // In no job it would not be saved with a new disk either.
    env.run("status --label other").exits(1).says(&["no good point, in no job"]);
    // One that should be saved and cannot be is no such guest.
    fs::write(
        &conf,
        text.replacen(",size=256K", ",size=256K,backup=0", 1)
            .replace("ceph:vm-100-disk-1", "nfs:100/vm-100-disk-1.qcow2"),
    )
    .unwrap();
    env.run("status").exits(2).says(&["no good point"]);
}

#[test]
fn a_wrong_label_is_said_of_the_label_and_not_of_the_jobs_name() {
    let env = Env::with_disks(1);
    let said = env.run("job create --vmid 100 --label Weekly --path REPO").exits(2);
    let said = said.complains(&["\"Weekly\" is not a label in lower case", "write --label weekly"]);
    assert!(!said.stderr.contains("job's name"), "{said:#?}");
    let said = env.run("job create --vmid 100 --label 2nd --path REPO").exits(2);
    said.complains(&["--label: \"2nd\" is not a label", "hourly, daily, weekly, monthly"]);
    assert_eq!(cfg(&env), "");
}

#[test]
fn a_point_that_lacks_a_disk_covers_nobody() {
    let env = Env::with_disks(2);
    env.run(CREATE).exits(0);
    fs::rename(env.path("rbd/rbd/vm-100-disk-1"), env.path("away")).unwrap();
    env.run("job run backup-daily --scheduled").exits(3);
    env.run("list --path REPO").exits(0).says(&["1 point,", "base, lacks scsi1 "]);
    env.run("status").exits(2).says(&["no good point"]);
    fs::rename(env.path("away"), env.path("rbd/rbd/vm-100-disk-1")).unwrap();
    env.run("job run backup-daily --scheduled").exits(0);
    env.run("status").exits(0);
}
