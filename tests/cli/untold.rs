//! Who hears nothing: of what is between the program and who typed it. And that nobody is left out in
//! silence: who could not be told of a job's run stands in `job list`.

use crate::env::{Env, Said};
use crate::told::{mails, notify_cfg};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const MAIL: &str = "mail: ops\n\tto ops@b.example\n";

#[test]
fn a_slip_of_the_fingers_is_mailed_to_nobody() {
    let env = Env::with_disks(1);
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    notify_cfg(&env, MAIL);
    for slip in [
        "backup --vmid 100 --label Daily --path REPO",
        "backup --vmid 100:50 --label daily --path REPO",
        "backup --vmid 100 --label daily --path REPO --compress lz4",
        "restore --path REPO",
        "restore --path REPO --vmid 100 --time yesterday",
        "verify --path REPO --read-data-subset 9/3",
        "prune --path REPO",
        "snapshot create --vmid 100 --label Foo",
    ] {
        env.run(slip).exits(2);
        assert_eq!(mails(&env), [""; 0], "{slip}");
    }
    // What went wrong with words that make sense is told.
    env.run("backup --vmid 100 --label daily --path DIR/nowhere").exits(10);
    assert_eq!(mails(&env).len(), 1);
}

#[test]
fn a_job_by_hand_whose_words_are_refused_is_mailed_to_nobody_and_a_scheduled_one_is() {
    let env = Env::with_disks(1);
    notify_cfg(&env, MAIL);
    env.run("job create --vmid 100 --label daily --path REPO").exits(0);
    let file = env.path("etc/pve-ferry/jobs.cfg");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("label daily", "label Daily")).unwrap();
    env.run("job run backup-daily").exits(2);
    assert_eq!(mails(&env), [""; 0]);
    env.run("job run backup-daily --scheduled").exits(2);
    assert_eq!(mails(&env).len(), 1);
}

/// Runs the program on a terminal and answers its questions.
fn on_terminal(env: &Env, answers: &[&str], words: &str) -> Said {
    let terminal = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/terminal.py");
    let mut command = Command::new(terminal);
    command.args(answers).arg("--").arg(env!("CARGO_BIN_EXE_pve-ferry"));
    let output = env.prepared(&mut command, words).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_persons_no_is_mailed_to_nobody() {
    let env = Env::with_disks(1);
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    notify_cfg(&env, MAIL);
    let lists = ["Guest", "{enter}", "Restore point", "{enter}", "Volumes", "{enter}"];
    let rest = ["Restore as vmid", "900{enter}", "Storage", "{enter}", "Restore guest", "n"];
    let said = on_terminal(&env, &[lists, rest].concat(), "restore --path REPO");
    said.exits(2).says(&["nothing was changed"]);
    assert_eq!(mails(&env), [""; 0]);
    let (question, reset) = ("Delete 1 snapshot?", "reset --vmid 100 --path REPO");
    let said = on_terminal(&env, &[question, "n"], reset).exits(2);
    said.says(&["delete snapshot", "makes a base", "nothing was changed"]);
    on_terminal(&env, &[question, "{ctrl-c}"], reset).exits(130);
    assert_eq!((mails(&env).len(), env.snapshots("vm-100-disk-0").len()), (0, 1));
    // Nor does anybody hear that what was typed on a terminal names nothing.
    on_terminal(&env, &[], "backup --vmid 999 --label daily --path REPO").exits(4);
    assert_eq!(mails(&env), [""; 0]);
    env.run("backup --vmid 999 --label daily --path REPO").exits(4);
    assert_eq!(mails(&env).len(), 1, "without a terminal it is a backup that is not made");
}

#[test]
fn who_could_not_be_told_of_a_scheduled_run_that_ended_well_is_said_and_stands_in_job_list() {
    let env = Env::with_disks(1);
    notify_cfg(&env, MAIL);
    env.run("job create --vmid 100 --label daily --path REPO").exits(0);
    let quiet = env.run("job run backup-daily --scheduled").exits(0);
    assert_eq!(quiet.stdout, "", "{quiet:#?}");
    fs::write(env.path("state/sendmail-fails"), "").unwrap();
    let said = env.run("job run backup-daily --scheduled").exits(0);
    said.says(&["warning: not told: mail to ops@b.example"]);
    let list = env.run("job list").exits(0);
    list.says(&["ok, not all were told", "backup-daily, its last run: not told: mail to ops@b.ex"]);
    let list = env.run("job list --json").exits(0).json();
    let untold = list["jobs"][0]["last_run"]["untold"][0].as_str().unwrap().to_owned();
    assert!(untold.starts_with("not told: mail to ops@b.example"), "{untold}");
    // The next run that reaches everybody says nothing, and nothing is left of it.
    fs::remove_file(env.path("state/sendmail-fails")).unwrap();
    let quiet = env.run("job run backup-daily --scheduled").exits(0);
    assert_eq!(quiet.stdout, "", "{quiet:#?}");
    assert!(!env.run("job list").exits(0).stdout.contains("told"));
}
