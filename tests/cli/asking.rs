//! Questions at a real terminal, of 80 columns: what is offered, what a wrong answer gets, and how the
//! terminal is left. Not for what the answers do: those are options, too.

use super::env::{Env, Said};
use std::process::Command;

/// The program at a terminal: at each text the keys are typed.
fn at_terminal(env: &Env, words: &str, steps: &[(&str, &str)]) -> Said {
    let person = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/fakes/terminal");
    let mut command = Command::new(person);
    command.args(steps.iter().flat_map(|(text, keys)| [text, keys]));
    command.args(["--", env!("CARGO_BIN_EXE_pve-ferry")]);
    let output = env.prepared(&mut command, words).env("TERM", "xterm").output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = Said {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert_ne!(said.code, Some(99), "{said:#?}");
    said
}

/// What is seen of a text: without the sequences that move the cursor and colour letters.
fn visible(text: &str) -> Vec<String> {
    let mut seen = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => _ = letters.find(|c| c.is_ascii_alphabetic()),
            other => seen.push(other),
        }
    }
    seen.split(['\r', '\n']).map(str::to_owned).collect()
}

fn with_point() -> Env {
    let env = Env::with_disks(2);
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    env
}

const HIDDEN: &str = "\u{1b}[?25l";
const SHOWN: &str = "\u{1b}[?25h";

#[test]
fn after_an_interrupt_at_any_question_the_cursor_is_seen_again_and_nothing_was_changed() {
    let env = with_point();
    let before = env.everything();
    let questions = [
        ("Guest", "\\r"),
        ("Restore point", "\\r"),
        ("Volumes", "\\r"),
        ("Restore as vmid", "\\r"),
        ("Storage", "\\r"),
        ("Restore guest", "\\x03"),
    ];
    for last in 0..questions.len() {
        let mut steps = questions[..=last].to_vec();
        steps[last].1 = "\\x03";
        let said = at_terminal(&env, "restore --path REPO", &steps);
        assert_eq!(said.code, Some(130), "{said:#?}");
        assert!(said.stdout.contains("interrupted; nothing was changed"), "{said:#?}");
        let (hidden, shown) = (said.stdout.rfind(HIDDEN), said.stdout.rfind(SHOWN));
        assert!(shown > hidden, "{said:#?}");
    }
    assert!(env.everything() == before);
}

#[test]
fn a_vmid_that_is_free_is_offered_and_one_that_is_taken_is_refused_where_it_is_typed() {
    let env = with_point();
    env.add_guest(101, 1);
    let steps = [
        ("Guest", "\\r"),
        ("Restore point", "\\r"),
        ("Volumes", "\\r"),
        ("Restore as vmid (102)", "100\\r"),
        ("guest 100 exists", "901\\r"),
        ("as they were (ceph)", "\\r"),
        ("as 901?", "y"),
    ];
    let said = at_terminal(&env, "restore --path REPO", &steps);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(env.images().contains(&"vm-901-disk-1".to_owned()), "{:?}", env.images());
    env.assert_expected();
}

#[test]
fn no_line_of_a_list_is_wider_than_the_terminal_and_directories_tell_guests_of_one_vmid_apart() {
    let env = with_point();
    let steps = [("Guest", "\\r"), ("Restore point", "\\x03")];
    let said = at_terminal(&env, "restore --path REPO", &steps);
    let lines = visible(&said.stdout);
    let guest = lines.iter().find(|line| line.contains("1 points, newest")).unwrap();
    assert!(!guest.contains('('), "{guest}");
    let conf = env.path("etc/nodes/pve1/qemu-server/100.conf");
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replace("web100", &"w".repeat(60)).replace("uuid=0", "uuid=1"))
        .unwrap();
    env.run("backup --vmid 100 --label daily --path REPO").exits(0);
    let said = at_terminal(&env, "restore --path REPO", &[("web100", "\\x03")]);
    let lines = visible(&said.stdout);
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    let directory = |line: &String| {
        let (_, rest) = line.split_once('(')?;
        Some(rest.split_once(')')?.0.to_owned())
    };
    let directories: std::collections::BTreeSet<String> =
        lines.iter().filter(|line| line.contains(" points")).filter_map(directory).collect();
    assert_eq!(directories.len(), 2, "{lines:#?}");
    let names = |name: &String| name.contains("/100-");
    assert!(directories.iter().all(names), "{directories:?}");
}

#[test]
fn before_a_point_is_removed_the_plan_is_shown_and_a_no_changes_nothing() {
    let env = with_point();
    let before = env.everything();
    let delete = "delete --path REPO --vmid 100 --time latest";
    let said = at_terminal(&env, delete, &[("Remove point", "n")]);
    assert_eq!(said.code, Some(2), "{said:#?}");
    let lines = visible(&said.stdout);
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    assert!(at("  remove ").is_some() && at("  remove ") < at("Remove point"), "{lines:#?}");
    assert!(env.everything() == before);
    let said = at_terminal(&env, delete, &[("Remove point", "y")]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    env.run("list --path REPO --vmid 100").exits(4);
}

#[test]
fn before_a_restore_that_was_chosen_from_lists_its_plan_is_shown() {
    let env = with_point();
    let steps = [
        ("Guest", "\\r"),
        ("Restore point", "\\r"),
        ("Volumes", "\\r"),
        ("Restore as vmid", "901\\r"),
        ("Storage", "\\r"),
        ("as 901?", "n"),
    ];
    let said = at_terminal(&env, "restore --path REPO", &steps);
    assert_eq!(said.code, Some(2), "{said:#?}");
    let lines = visible(&said.stdout);
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    assert!(at("create volume").is_some() && at("create volume") < at("as 901?"), "{lines:#?}");
    assert!(!env.images().contains(&"vm-901-disk-1".to_owned()), "{:?}", env.images());
}
