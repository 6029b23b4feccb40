//! Who hears of snapshots, and what is asked before something is lost. Not what is made of them.

use crate::cluster::{Cluster, TLS, guest, three, with};
use crate::env::Said;
use serde_json::json;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

fn subject(mail: &str) -> &str {
    mail.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or("no subject")
}

#[test]
fn a_failed_run_is_mailed_from_a_machine_that_is_no_node() {
    let failing = with(guest(101), json!({"create_fails": "quota exceeded"}));
    let cluster = Cluster::of(vec![guest(100), failing]);
    let mail = "--mail ops@a.example --mail-when failure";
    cluster.run(&format!("create --vmid 100 --label daily {mail}")).exits(0);
    assert_eq!(cluster.mails(), [""; 0]);
    let said = cluster.run(&format!("create --vmid all --label hourly --keep 3 {mail}")).exits(3);
    assert_eq!(said.stderr, "", "{said:#?}");
    let mails = cluster.mails();
    assert_eq!(mails.len(), 1, "{mails:?}");
    assert!(subject(&mails[0]).starts_with("[PARTIAL] pve-ferry snapshot create hourly on "));
    for part in ["quota exceeded", "made snapshot autohourly", "1 of 2 guests ok, 1 failed"] {
        assert!(mails[0].contains(part), "{part} in {}", mails[0]);
    }
    assert!(!mails[0].contains("secret-1") && !mails[0].contains("volumes"), "{}", mails[0]);
}

#[test]
fn a_cluster_that_cannot_be_reached_is_told_and_wrong_words_are_not() {
    let cluster = Cluster::of(vec![guest(100)]);
    let login = format!(
        "--host localhost:1 --api-token file:DIR/token --ca-file {TLS}/ca.pem --mail a@b.c"
    );
    for (words, code) in [
        ("create --vmid all --label daily", 1),
        ("prune --vmid all --label daily --keep 1", 1),
        ("rollback --vmid 100 --name a --yes", 1),
        ("create --vmid 9:1 --label daily", 2),
    ] {
        cluster.plain(&format!("snapshot {words} {login}")).exits(code);
    }
    let mails = cluster.mails();
    let subjects: Vec<&str> = mails.iter().map(|mail| subject(mail)).collect();
    assert_eq!(mails.len(), 3, "{subjects:?}");
    assert!(subjects.iter().all(|subject| subject.starts_with("[FAILED] pve-ferry snapshot ")));
    assert!(mails[0].contains("connection refused"), "{}", mails[0]);
    cluster.plain(&format!("snapshot create -n --vmid all --label daily {login}")).exits(1);
    assert_eq!(cluster.mails().len(), 3, "a dry run tells nobody");
}

#[test]
fn notify_cfg_of_a_machine_that_is_no_node_is_below_etc_pve_ferry() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    fs::create_dir_all(cluster.path("etc")).unwrap();
    let cfg = "mail: ops\n\tto ops@a.example\n";
    fs::write(cluster.path("etc/notify.cfg"), cfg).unwrap();
    cluster.run("prune --vmid 100 --label daily --keep 1").exits(0);
    cluster.run("rollback --vmid 100 --name autodaily260103000000 --yes").exits(0);
    let mails = cluster.mails();
    assert_eq!(
        subject(&mails[0]).split(" on ").next(),
        Some("[OK] pve-ferry snapshot prune daily")
    );
    assert_eq!(
        subject(&mails[1]).split(" on ").next(),
        Some("[OK, WARNINGS] pve-ferry snapshot rollback")
    );
    assert!(mails[1].contains("rolled back to snapshot autodaily260103000000"), "{}", mails[1]);
    let down = "--influxurl http://127.0.0.1:1 --influxbucket pve";
    let said = cluster.run(&format!("create --vmid 100 --label daily {down}"));
    said.exits(0).complains(&["warning: not told: InfluxDB at http://127.0.0.1:1"]);
    let clear = "--influxurl http://127.0.0.1:1 --influxbucket p --influxtoken s3cret";
    let said = cluster.run(&format!("create --vmid 100 --label daily {clear}")).exits(2);
    assert!(said.stderr.contains("file:PATH") && !said.stderr.contains("s3cret"), "{said:?}");
}

#[test]
fn a_rollback_stands_in_the_systems_log_with_who_did_it_and_in_no_metrics() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    let log = UnixDatagram::bind(cluster.path("syslog")).unwrap();
    log.set_nonblocking(true).unwrap();
    let lines = || {
        let (mut buffer, mut lines) = ([0; 9000], String::new());
        while let Ok(count) = log.recv(&mut buffer) {
            lines.push_str(&String::from_utf8_lossy(&buffer[..count]));
            lines.push('\n');
        }
        lines
    };
    fs::create_dir_all(cluster.path("etc")).unwrap();
    fs::create_dir(cluster.path("metrics")).unwrap();
    let metrics = format!("prometheus: node\n\tdirectory {}\n", cluster.path("metrics").display());
    fs::write(cluster.path("etc/notify.cfg"), metrics).unwrap();
    let words = "rollback --vmid 100 --name autodaily260103000000";
    cluster.run(&format!("{words} -n")).exits(0);
    cluster.run("create --vmid 100 --label daily").exits(0);
    fs::remove_dir_all(cluster.path("metrics")).unwrap();
    fs::create_dir(cluster.path("metrics")).unwrap();
    assert_eq!(lines(), "", "neither a dry run nor a job's work is an act");
    cluster.run(&format!("{words} --yes")).exits(0);
    let said = lines();
    let who = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    let done = |line: &&str| line.contains("rolled back to snapshot autodaily260103000000");
    let line = said.lines().find(done).unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains("guest 100") && line.contains(", by ") && line.contains(&who), "{line}");
    assert_eq!(fs::read_dir(cluster.path("metrics")).unwrap().count(), 0);
}

/// Runs `pve-ferry snapshot` on a terminal and answers its questions.
fn on_terminal(cluster: &Cluster, answers: &[&str], words: &str) -> Said {
    let login =
        format!("--host {} --api-token file:DIR/token --ca-file {TLS}/ca.pem", cluster.hosts());
    let home = cluster.home.path().display().to_string();
    let words = format!("snapshot {words} {login}").replace("DIR", &home);
    let terminal = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/terminal.py");
    let mut command = Command::new(terminal);
    command.args(answers).arg("--").arg(env!("CARGO_BIN_EXE_pve-ferry"));
    let output = cluster.prepared(command.args(words.split(' '))).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

const ROLLBACK: &str = "rollback --vmid 100 --name autodaily260102000000 --mail a@b.c";
const PRUNE: &str = "prune --vmid 100 --label daily --keep 0 --mail a@b.c";

#[test]
fn what_would_be_lost_is_asked_for_on_a_terminal_and_only_yes_is_yes() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    for (question, words) in [("Roll back?", ROLLBACK), ("Remove all snapshots", PRUNE)] {
        let said = on_terminal(&cluster, &[question, "n"], words).exits(2);
        said.says(&["nothing was changed"]);
        on_terminal(&cluster, &[question, "{enter}"], words).exits(2);
        on_terminal(&cluster, &[question, "{ctrl-d}n"], words).exits(2);
        on_terminal(&cluster, &[question, "{ctrl-c}"], words).exits(130);
    }
    let said = on_terminal(&cluster, &["Roll back?", "n"], ROLLBACK);
    said.says(&["roll back guest", "everything written since is lost", "nothing was changed"]);
    let said = on_terminal(&cluster, &["Remove all snapshots", "n"], PRUNE);
    said.says(&["remove snapshot", "autodaily260101000000", "nothing was changed"]);
    assert_eq!((cluster.requests("POST"), cluster.requests("DELETE")), (0, 0));
    assert_eq!(cluster.mails(), [""; 0], "who said no knows it");
    on_terminal(&cluster, &["Roll back?", "y"], ROLLBACK).exits(0).says(&["rolled back"]);
    assert_eq!(cluster.guest(100)["rolled_back_to"], "autodaily260102000000");
    on_terminal(&cluster, &["Remove all snapshots", "y"], PRUNE).exits(0);
    assert_eq!((cluster.snapshots(100).len(), cluster.mails().len()), (0, 2));
}

#[test]
fn nothing_is_asked_where_nothing_would_be_lost_or_the_answer_is_known() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    on_terminal(&cluster, &[], &format!("{ROLLBACK} --dry-run")).exits(0);
    on_terminal(&cluster, &[], &format!("{PRUNE} --dry-run")).exits(0);
    assert_eq!((cluster.requests("POST"), cluster.requests("DELETE")), (0, 0));
    on_terminal(&cluster, &[], &format!("{ROLLBACK} --yes")).exits(0);
    on_terminal(&cluster, &[], "prune --vmid 100 --label daily --keep 2").exits(0);
    on_terminal(&cluster, &[], &format!("{PRUNE} --yes")).exits(0);
    assert_eq!(cluster.snapshots(100).len(), 0);
}

#[test]
fn a_terminal_that_goes_away_is_no_yes() {
    let cluster = Cluster::of(vec![with(guest(100), json!({"snapshots": three()}))]);
    for (question, words) in [("Roll back?", ROLLBACK), ("Remove all snapshots", PRUNE)] {
        let said = on_terminal(&cluster, &[question, "{hang-up}"], words);
        assert_ne!(said.code, Some(0), "{said:#?}");
        assert_ne!(said.code, Some(124), "{said:#?}");
    }
    assert_eq!((cluster.requests("POST"), cluster.requests("DELETE")), (0, 0));
}
