//! A repository of a stranger on the command line: what it says of itself is obeyed by no terminal.

use crate::env::Env;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Clears the screen, sets the title, and turns red; each with the introducers of 7 and of 8 bits.
const NAME: &str = "web\u{1b}[2J\u{1b}]0;title\u{7}\u{9b}31m\u{9d}0;title\u{9c}end";

/// The seal is no signature: a stranger can make a right one.
fn rename_guest(manifest: &Path) {
    let mut value: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let fields = value.as_object_mut().unwrap();
    fields.shift_remove("seal").unwrap();
    fields["name"] = NAME.into();
    fields["node"] = NAME.into();
    let text = serde_json::to_string_pretty(&value).unwrap();
    let body = text.strip_suffix("\n}").unwrap();
    let seal = blake3::hash(body.as_bytes());
    fs::write(manifest, format!("{body},\n  \"seal\": \"blake3:{seal}\"\n}}\n")).unwrap();
}

#[test]
fn no_name_in_a_repository_reaches_a_terminal_with_its_escape_sequences() {
    let env = Env::with_disks(1);
    env.run("backup --vmid 100 --label daily --path REPO --jobs 1 --threads 1").exits(0);
    let list = env.run("list --path REPO --json").exits(0).json();
    let point = PathBuf::from(list["restore_points"][0]["path"].as_str().unwrap());
    rename_guest(&point.join("manifest.json"));
    // As an early version left it: the guest's name stands in the manifests alone.
    let guest = point.ancestors().nth(2).unwrap();
    fs::remove_file(guest.join("guest.json")).unwrap();
    fs::remove_dir_all(guest.join("manifests")).unwrap();
    for words in [
        "list --path REPO",
        "list --path REPO --json",
        "list --path REPO --images",
        "prune --path REPO --keep 1 --dry-run",
        "prune --path REPO --keep 1",
        "verify --path REPO",
        "verify --path REPO --json",
    ] {
        let said = env.run(words);
        for text in [&said.stdout, &said.stderr] {
            let obeyed = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(obeyed, None, "{words}: {text:?}");
        }
    }
    env.run("list --path REPO").exits(0).says(&["webend"]);
    let list = env.run("list --path REPO --json").exits(0).json();
    assert!(list.to_string().contains("title"), "a document says it as it is: {list}");
}
